"""Readers that follow a handler with a cursor, leave when they please, and come back after each death of the server."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp

from tests.harness.api import RECONNECT, TERMINAL, Api, Json, StreamEvent
from tests.harness.ledger import Ledger

RECORDED, OVER = "recorded", "over"
"""Beginnings of the lines of the ledger that say what a reader saw: a step's result, and the end of a run."""

PATIENCE = 150.0
"""Seconds without an event after which what a reader waits for will not come any more."""


async def stream(api: Api, handler_id: str, after: int, *, sse: bool) -> AsyncIterator[StreamEvent]:
    """The events past a cursor, internal ones too, until the stream ends: NDJSON, or SSE with ``Last-Event-ID``."""
    query = "include_internal=true&" + ("sse=true" if sse else f"sse=false&after_sequence={after}")
    headers = {"Last-Event-ID": str(after)} if sse else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with api.session.get(f"{api.url}/events/{handler_id}?{query}", headers=headers, timeout=timeout) as answer:
        if answer.status != 200:
            raise Refused(answer.status, await answer.text())
        sequence = -1
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                sequence = int(line[4:])
            elif line.startswith("data: "):
                yield event_of(json.loads(line[6:]), sequence)
            elif line.startswith("{"):
                data = json.loads(line)
                yield event_of(data, data["sequence"])


def event_of(data: Json, sequence: int) -> StreamEvent:
    """An event as either form of a stream brings it."""
    terminal = not {data["type"], *(data["types"] or ())}.isdisjoint(TERMINAL)
    return StreamEvent(sequence, data["type"], data["value"], terminal)


class Refused(Exception):
    """A stream was not given."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class CursorReader:
    """All that a handler's readers were sent, in the order in which it came; NDJSON and SSE take turns by chance.

    The results of steps and the ends of runs that it sees go into the ledger at once, so that steps that begin again
    later come after them.
    """

    def __init__(self, api: Api, ledger: Ledger, handler_id: str, up: asyncio.Event, chance: random.Random) -> None:
        self.handler_id = handler_id
        self.events: list[StreamEvent] = []
        self.connections = 0
        self.cut_off = 0
        """Number of times that the server died in the middle of a stream."""
        self.wrong: list[str] = []
        """Violations of what a stream promises."""
        self._api = api
        self._ledger = ledger
        self._up = up
        self._chance = chance
        self._came = asyncio.Condition()
        self._run_id = ""
        self._task: asyncio.Task[None] | None = None

    def follow(self, run_id: str) -> None:
        """Follow this run to its end, from where the run before ended."""
        self._run_id = run_id
        self._task = asyncio.create_task(self._follow(), name=f"read {self.handler_id}")

    async def finished(self) -> StreamEvent:
        """The terminal event of the run."""
        assert self._task is not None
        done: set[asyncio.Task[None]] = set()
        seen = -1
        while not done and len(self.events) > seen:
            # While servers are killed on a busy machine, a long run may take minutes; but it gets on.
            seen = len(self.events)
            done, _ = await asyncio.wait({self._task}, timeout=PATIENCE)
        assert done, f"{self.handler_id}: the end of run {self._run_id} does not come after {self.events[-2:]}"
        self._task.result()
        assert not self.wrong, self.wrong
        return self.events[-1]

    async def until(self, kind: str) -> StreamEvent:
        """The first event of this type, or the terminal one where that comes before."""
        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: self._first(kind) is not None), PATIENCE)
        event = self._first(kind)
        assert event is not None
        return event

    def _first(self, kind: str) -> StreamEvent | None:
        return next((event for event in self.events if event.type == kind or event.terminal), None)

    async def stop(self) -> None:
        """Leave."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            await self._up.wait()
            leaves_after = self._chance.choice((1, 3, 8, 10_000))
            try:
                self.connections += 1
                if await self._read(leaves_after):
                    return
            except Refused as refusal:
                if refusal.status != 503:
                    self.wrong.append(f"{self.handler_id}: a stream without its terminal event is refused: {refusal}")
                    return
            except (aiohttp.ClientError, ConnectionError):
                self.cut_off += 1
            await asyncio.sleep(RECONNECT)

    async def _read(self, leaves_after: int) -> bool:
        """Return whether the terminal event has come."""
        after = self.events[-1].sequence if self.events else -1
        came = 0
        async for event in stream(self._api, self.handler_id, after, sse=self._chance.random() < 0.5):
            await self._take(event)
            came += 1
            if event.terminal:
                return True
            if came == leaves_after:
                return False
        self.wrong.append(f"{self.handler_id}: a stream ended after {self.events[-1:]}, without its terminal event")
        return False

    async def _take(self, event: StreamEvent) -> None:
        self.events.append(event)
        if event.terminal:
            self._ledger.note(OVER, self.handler_id, self._run_id)
        elif event.type == "StepStateChanged" and event.value["step_state"] == "not_running":
            self._ledger.note(RECORDED, self.handler_id, event.value["name"], self._run_id)
        async with self._came:
            self._came.notify_all()
