"""The HTTP calls of the tests, and a reader that comes back with its cursor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp

Json = dict[str, Any]

TERMINAL = ("StopEvent", "WorkflowFailedEvent", "WorkflowCancelledEvent", "WorkflowTimedOutEvent")
DETAILS = ("running_steps", "waiting_for", "retrying_steps", "stalled")
"""Keys of a handler that is asked for alone, which lists and the answers of starts do not have."""
RECONNECT = 0.05
"""Seconds until a reader whose server is gone looks again."""


class StreamEvent(NamedTuple):
    """One event of a stream."""

    sequence: int
    type: str
    value: Json
    terminal: bool


class Api:
    """A server's HTTP interface; ``url`` changes when the server is started again, and is empty where the session has
    it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.session = session

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, Json]:
        """The status and the JSON of the answer to one request."""
        async with self.session.request(method, f"{self.url}{path}", json=body, **options) as response:
            return response.status, await response.json()

    async def wants(self, method: str, path: str, body: object = None, *, status: int = 200, **options: Any) -> Json:
        """The JSON of the answer to one request, which has to be of this status."""
        found, answer = await self.call(method, path, body, **options)
        assert found == status, f"{method} {path} {body}: {found} {answer} instead of {status}"
        return answer

    async def start(self, workflow: str, **fields: object) -> Json:
        """Start a run; it is acknowledged when this returns."""
        return await self.wants("POST", f"/workflows/{workflow}/run-nowait", {"start_event": fields})

    async def handler(self, handler_id: str) -> Json:
        """The handler as it is."""
        status, handler = await self.call("GET", f"/handlers/{handler_id}")
        assert status in (200, 202, 500), handler
        return handler

    async def running(self) -> list[Json]:
        """The handlers that are running."""
        handlers: list[Json] = (await self.wants("GET", "/handlers?status=running"))["handlers"]
        return handlers

    async def send(self, handler_id: str, kind: str, step: str | None = None, **value: object) -> None:
        """Post an event; it is acknowledged when this returns."""
        body = {"event": {"type": kind, "value": value}, **({} if step is None else {"step": step})}
        await self.wants("POST", f"/events/{handler_id}", body)

    async def stream(
        self, handler_id: str, after: int | None = -1, *, internal: bool = False
    ) -> AsyncGenerator[StreamEvent, None]:
        """The events past a cursor, or of the shared queue, until the stream ends; none while the server is shutting
        down."""
        params = {"sse": "false", "include_internal": str(internal).lower()}
        params |= {"acquire_timeout": "1"} if after is None else {"after_sequence": str(after)}
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self.url}/events/{handler_id}"
        async with self.session.get(url, params=params, timeout=timeout) as response:
            if response.status == 503:
                return
            assert response.status in (200, 204), await response.text()
            async for line in response.content:
                if line.strip():
                    yield _parsed(line)

    async def events(self, handler_id: str, *, internal: bool = False) -> list[StreamEvent]:
        """All events of the current run, up to its end."""
        return [event async for event in self.stream(handler_id, internal=internal)]

    async def finished(self, handler_id: str) -> Json:
        """The handler, when its run has ended."""
        await self.events(handler_id)
        return await self.handler(handler_id)

    async def result(self, handler_id: str) -> Any:
        """The value of the run's plain StopEvent, when it has completed."""
        handler = await self.finished(handler_id)
        assert handler["status"] == "completed", handler
        return handler["result"]["value"]["result"]


class Reader:
    """Follows a run with a cursor, through every death of the server, until the terminal event."""

    def __init__(self, api: Api, handler_id: str, *, internal: bool = True) -> None:
        self.events: list[StreamEvent] = []
        self._api = api
        self._handler_id = handler_id
        self._internal = internal
        self._came = asyncio.Condition()
        self._task = asyncio.create_task(self._follow(), name=f"read {handler_id}")

    async def finished(self, timeout: float = 60.0) -> list[StreamEvent]:
        """All events, when the terminal one has come."""
        await asyncio.wait_for(asyncio.shield(self._task), timeout)
        return self.events

    async def until(self, kind: str, times: int = 1, timeout: float = 45.0, **value: object) -> None:
        """Return when so many events of this type, with these values, have come."""

        def enough() -> bool:
            return times <= sum(
                event.type == kind and all(event.value.get(key) == item for key, item in value.items())
                for event in self.events
            )

        async with self._came:
            await asyncio.wait_for(self._came.wait_for(enough), timeout)

    async def stop(self) -> None:
        """Leave."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        while not (self.events and self.events[-1].terminal):
            with suppress(aiohttp.ClientError, ConnectionError):
                after = self.events[-1].sequence if self.events else -1
                async for event in self._api.stream(self._handler_id, after, internal=self._internal):
                    self.events.append(event)
                    async with self._came:
                        self._came.notify_all()
                if self.events and self.events[-1].terminal:
                    return
            await asyncio.sleep(RECONNECT)


def as_listed(handler: Json) -> Json:
    """Return a handler that was asked for alone as lists have it."""
    return {key: value for key, value in handler.items() if key not in DETAILS}


def time_as_told(stored: float | None) -> str | None:
    """The time of an event as its readers get it, for the time in the database."""
    if stored is None:
        return None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (epoch + timedelta(microseconds=round(stored * 1_000_000))).isoformat(timespec="microseconds")


def _parsed(line: bytes) -> StreamEvent:
    data = json.loads(line)
    kinds = {data["type"], *(data["types"] or ())}
    return StreamEvent(data["sequence"], data["type"], data["value"], not kinds.isdisjoint(TERMINAL))
