"""One session of a client with a server whose storage fails: what it does, and what it was told.

It does everything that changes the store: start, stream, send, state, continue, cancel, key, purge, end. It repeats
refused requests, so that the session goes on when the fault is lifted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from tests.harness.api import Api, Json, StreamEvent

PATIENCE = 30.0
"""Seconds after which what is refused should have been taken."""
AGAIN = 0.1
"""Seconds until what was refused is asked for again."""

REFUSED = (503, 507)
GONE = (aiohttp.ClientError, ConnectionError)


class ServerGone(Exception):
    """The server went away before it answered."""


@dataclass
class Told:
    """The client's knowledge of one handler. ``maybe_`` marks requests that got no answer."""

    workflow: str
    label: str
    run_id: str
    runs: int = 1
    maybe_continued: bool = False
    ended: Json | None = None
    texts: list[str] = field(default_factory=list)
    maybe_texts: list[str] = field(default_factory=list)
    cancelled: bool = False
    maybe_cancelled: bool = False
    maybe_purged: bool = False
    seen: dict[int, StreamEvent] = field(default_factory=dict)


@dataclass
class Memory:
    """All that a client was told, and what it asked for without being told how it went."""

    handlers: dict[str, Told] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)
    keys: dict[str, str | None] = field(default_factory=dict)
    """The handler that a key was answered with; None where there was no answer."""
    unanswered: set[str] = field(default_factory=set)
    """The labels of runs that may have been started without a word of it."""
    answers: Counter[int] = field(default_factory=Counter)
    """Number of answers with each status."""


class ScriptedSession:
    """The requests of one client. ``refused`` is called at each 503 and 507, before the client asks again."""

    def __init__(self, api: Api, name: str, refused: Callable[[Json], Awaitable[None]]) -> None:
        self.memory = Memory()
        self._api = api
        self._name = name
        self._refused = refused

    async def run(self) -> None:
        """Do everything once.

        Raises:
            ServerGone: the server went away in the middle.
        """
        counted = await self._start("count", "counted", key=f"{self._name}-key")
        await self._follow(counted)
        await self._continue(counted)
        asked = await self._start("inbox", "asked")
        await self._send(asked, "one")
        await self._send(asked, "two")
        await self._send(asked, last=True)
        await self._follow(asked)
        stopped = await self._start("inbox", "stopped")
        await self._send(stopped, "unread")
        await self._cancel(stopped)
        again = await self._start("count", "counted", key=f"{self._name}-key")
        assert again == counted, "the key started another run"
        deleted = await self._start("count", "deleted")
        await self._follow(deleted)
        await self._purge(deleted)
        await self.begin()

    async def begin(self) -> None:
        """Leave a run in the middle."""
        left = await self._start("inbox", "left")
        await self._send(left, "kept")

    # -- What is asked -------------------------------------------------------------------------

    async def _start(self, workflow: str, label: str, key: str | None = None) -> str:
        label = f"{self._name}-{label}"
        headers = {"Idempotency-Key": key} if key else {}
        if key:
            self.memory.keys.setdefault(key, None)

        def not_known(attempt: str) -> None:
            self.memory.unanswered.add(attempt)

        handler = await self._until_taken(
            lambda attempt: (f"/workflows/{workflow}/run-nowait", {"start_event": {"label": attempt}}),
            label,
            not_known,
            headers=headers,
            # With a key it is the same request again; without, each has a label of its own, to tell which was stored.
            numbered=key is None,
        )
        handler_id: str = handler["handler_id"]
        if key:
            self.memory.keys[key] = handler_id
            self.memory.handlers.setdefault(handler_id, Told(workflow, label, handler["run_id"]))
        return handler_id

    async def _send(self, handler_id: str, text: str = "", *, last: bool = False) -> None:
        told = self.memory.handlers[handler_id]
        value = {"text": text, "last": last}

        def not_known(_: str) -> None:
            told.maybe_texts.append(text)

        await self._until_taken(
            lambda _: (f"/events/{handler_id}", {"event": {"type": "Answer", "value": value}}), text, not_known
        )
        if not last:
            told.texts.append(text)

    async def _continue(self, handler_id: str) -> None:
        told = self.memory.handlers[handler_id]

        def not_known(_: str) -> None:
            told.maybe_continued = True

        body = {"handler_id": handler_id, "start_event": {"label": told.label}}
        handler = await self._until_taken(lambda _: ("/workflows/count/run", body), "", not_known)
        assert handler["status"] == "completed", handler
        told.runs += 1
        told.run_id, told.ended = handler["run_id"], handler["result"]
        assert handler["result"]["value"]["result"]["n"] == told.runs, handler

    async def _cancel(self, handler_id: str) -> None:
        told = self.memory.handlers[handler_id]

        def not_known(_: str) -> None:
            told.maybe_cancelled = True

        await self._until_taken(lambda _: (f"/handlers/{handler_id}/cancel", None), "", not_known)
        told.cancelled = True

    async def _purge(self, handler_id: str) -> None:
        told = self.memory.handlers[handler_id]

        def not_known(_: str) -> None:
            told.maybe_purged = True

        await self._until_taken(lambda _: (f"/handlers/{handler_id}/cancel?purge=true", None), "", not_known)
        self.memory.purged.add(handler_id)
        del self.memory.handlers[handler_id]

    async def _until_taken(
        self,
        request: Callable[[str], tuple[str, Json | None]],
        label: str,
        not_known: Callable[[str], None],
        *,
        headers: dict[str, str] | None = None,
        numbered: bool = False,
    ) -> Json:
        """Ask until it is taken. A refusal that says that nothing was stored is believed, and held against the store
        later: what it refused must be nowhere."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        for attempt in range(1, 1 << 30):
            name = f"{label}-{attempt}" if numbered else label
            path, body = request(name)
            try:
                status, answer = await self._api.call("POST", path, body, headers=headers)
            except GONE as error:
                not_known(name)
                raise ServerGone(f"{path}: {error!r}") from error
            self.memory.answers[status] += 1
            if status == 200:
                if numbered:
                    self.memory.handlers[answer["handler_id"]] = Told(answer["workflow_name"], name, answer["run_id"])
                return answer
            assert status in REFUSED, f"{path} was answered with {status} {answer}"
            if "known only after a restart" in str(answer["detail"]):
                not_known(name)
            await self._refused(answer)
            assert asyncio.get_running_loop().time() < deadline, f"{path} is still refused: {status} {answer}"
            await asyncio.sleep(AGAIN)
        raise AssertionError

    async def _follow(self, handler_id: str) -> None:
        """Read the stream to its end, and then the handler."""
        told = self.memory.handlers[handler_id]
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not any(event.terminal for event in told.seen.values()):
            after = max(told.seen, default=-1)
            try:
                async for event in self._api.stream(handler_id, after, internal=True):
                    assert event.sequence == max(told.seen, default=-1) + 1, event
                    told.seen[event.sequence] = event
            except GONE as error:
                raise ServerGone(f"the stream of {told.label}: {error!r}") from error
            assert asyncio.get_running_loop().time() < deadline, f"the stream of {told.label} does not end"
            await asyncio.sleep(0)
        try:
            status, handler = await self._api.call("GET", f"/handlers/{handler_id}")
        except GONE as error:
            raise ServerGone(f"the handler {told.label}: {error!r}") from error
        if status == 503:
            return
        assert status == 200, f"the end was streamed, and the handler is {status} {handler}"
        told.ended = handler["result"]
