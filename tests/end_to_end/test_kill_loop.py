"""Twenty kills at random moments under load, and nothing that was acknowledged is lost, repeated or taken back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.end_to_end.api import Json, Reader, StreamEvent
from tests.end_to_end.ledger import Entry
from tests.end_to_end.server_process import DurableServer

KILLS = 20
SEED = 4_711
WRITERS, HUMANS, CANCELLERS = 5, 3, 1
RETRY = 0.05
PACE = 0.03
"""Seconds between two runs of one writer."""

Client = Callable[[int, random.Random], Coroutine[Any, Any, None]]
"""What a client does once, under a number of its own."""


class Load:
    """Clients that go on whatever happens to the server, and remember what they were told."""

    def __init__(self, server: DurableServer) -> None:
        self.completed: dict[str, object] = {}
        """The acknowledged runs, each with the result that it must have."""
        self.cancelled: list[str] = []
        self.readers: dict[str, Reader] = {}
        self.ends: dict[str, Json] = {}
        self.events: dict[str, list[StreamEvent]] = {}
        self._server = server
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def begin(self, chance: random.Random) -> None:
        """Let all clients begin."""
        kinds: dict[Client, int] = {self._write: WRITERS, self._answer: HUMANS, self._cancel: CANCELLERS}
        for index, kind in enumerate(kind for kind, count in kinds.items() for _ in range(count)):
            client = self._repeat(kind, random.Random(chance.random()))
            self._tasks.append(asyncio.create_task(client, name=f"client {index}"))

    async def finish(self) -> None:
        """Let the clients finish what they are doing, and every acknowledged run end."""
        self._stopping = True
        await asyncio.gather(*self._tasks)
        for handler_id, reader in self.readers.items():
            self.events[handler_id] = await reader.finished()
            self.ends[handler_id] = await self._server.api.handler(handler_id)

    async def _repeat(self, kind: Client, chance: random.Random) -> None:
        while not self._stopping:
            self._number += 1
            await kind(self._number, chance)
            await asyncio.sleep(PACE)

    async def _write(self, number: int, chance: random.Random) -> None:
        fields = {"number": number, "pause": chance.uniform(0, 0.03)}
        handler = await self._insist("/workflows/three_steps/run-nowait", {"start_event": fields}, f"write-{number}")
        self._acknowledged(handler, [number, "one", "two", "three"])

    async def _answer(self, number: int, chance: random.Random) -> None:
        handler = await self._insist("/workflows/asks/run-nowait", {}, f"ask-{number}")
        self._acknowledged(handler, number)
        await self.readers[handler["handler_id"]].until("Question", timeout=90)
        body = {"event": {"type": "Answer", "value": {"number": number}}}
        await self._insist(f"/events/{handler['handler_id']}", body, f"answer-{number}")

    async def _cancel(self, number: int, chance: random.Random) -> None:
        handler = await self._insist("/workflows/asks/run-nowait", {}, f"cancel-{number}")
        handler_id = handler["handler_id"]
        self.readers[handler_id] = Reader(self._server.api, handler_id)
        await self._insist(f"/handlers/{handler_id}/cancel", None, None)
        self.cancelled.append(handler_id)

    def _acknowledged(self, handler: Json, result: object) -> None:
        handler_id = handler["handler_id"]
        self.completed[handler_id] = result
        self.readers[handler_id] = Reader(self._server.api, handler_id)

    async def _insist(self, path: str, body: object, key: str | None) -> Json:
        """The answer of a request that is repeated until it is acknowledged, under one idempotency key."""
        headers = {} if key is None else {"Idempotency-Key": key}
        while True:
            with suppress(aiohttp.ClientError, ConnectionError):
                status, answer = await self._server.api.call("POST", path, body, headers=headers)
                # A cancellation whose acknowledgement was lost finds that nothing runs any more.
                if status == 200 or (status == 404 and key is None and "is not running" in answer["detail"]):
                    return answer
                assert status == 503, answer
            await asyncio.sleep(RETRY)


class Aftermath:
    """What was seen of the load, when all was over."""

    def __init__(self, load: Load, entries: list[Entry]) -> None:
        self.load = load
        self.entries = entries


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    return asyncio.run(twenty_kills(tmp_path_factory.mktemp("kill-loop")))


async def twenty_kills(folder: Path) -> Aftermath:
    chance = random.Random(SEED)
    async with DurableServer(folder, "flows.py") as server:
        load = Load(server)
        load.begin(chance)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.02, 0.9))
            await server.restart()
        await load.finish()
        return Aftermath(load, server.ledger.entries())


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_every_acknowledged_run_completes_and_every_acknowledged_answer_arrives(aftermath: Aftermath) -> None:
    load = aftermath.load
    print(f"seed {SEED}: {KILLS} kills, {len(load.completed)} runs to complete, {len(load.cancelled)} cancelled")
    assert len(load.completed) > KILLS
    assert {
        handler_id: load.ends[handler_id]["result"]["value"]["result"]
        for handler_id in load.completed
        if load.ends[handler_id]["status"] == "completed"
    } == load.completed


def test_every_acknowledged_cancellation_holds(aftermath: Aftermath) -> None:
    load = aftermath.load
    assert load.cancelled
    assert {load.ends[handler_id]["status"] for handler_id in load.cancelled} == {"cancelled"}


def test_no_step_begins_after_a_later_one_of_its_run_has_begun(aftermath: Aftermath) -> None:
    begun: dict[str, list[str]] = {}
    for entry in aftermath.entries:
        if entry.kind == "begin":
            begun.setdefault(entry.handler_id, []).append(entry.step)
    assert any(len(steps) > len(set(steps)) for steps in begun.values()), "no step was interrupted at all"
    assert [steps for steps in begun.values() if steps != sorted(steps)] == []


def test_every_readers_events_continue_without_gap_or_repetition(aftermath: Aftermath) -> None:
    for events in aftermath.load.events.values():
        assert [event.sequence for event in events] == list(range(len(events)))
        assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
