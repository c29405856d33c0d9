"""One sample on the engine's own basic runtime, and on the durable one over a real store."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from workflows import Context
from workflows.events import Event, StopEvent
from workflows.handler import WorkflowHandler

from tests.harness.managing import uses_engine_loop
from tests.reliability.samples.sample import Cancel, Sample, Send, begun, give_way, pause
from tests.store.fault_injection import Hook, HookedStore
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.outcomes import terminal_status
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.runs.exceptions import HandlerNotRunning, RunAlreadyEnded
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.base import HandlerQuery

LIMIT = 60
"""Seconds for a sample; each takes a fraction of one."""

VOLATILE = frozenset({"elapsed_seconds", "failed_at"})
"""Fields of the engine's events that hold times."""


class Told(NamedTuple):
    """A published event, without the times."""

    type: str
    value: str

    @property
    def fields(self) -> dict[str, Any]:
        """Its fields."""
        fields: dict[str, Any] = json.loads(self.value)
        return fields


class Outcome(NamedTuple):
    """The end of a sample: its status, and its result or the fields of the event that tells why there is none."""

    status: str
    result: object


class Record(NamedTuple):
    """The observations of a sample: how it ended, what its runs published, and which steps began."""

    outcome: Outcome
    log: list[Told]
    begun: list[str]


def read(data: str) -> Told:
    """The event of an envelope."""
    parsed = json.loads(data)
    fields = {name: value for name, value in parsed["value"].items() if name not in VOLATILE}
    return Told(parsed["type"], json.dumps(fields, sort_keys=True))


def outcome(status: str, log: list[Told]) -> Outcome:
    """The outcome of a log that has ended."""
    fields = log[-1].fields
    return Outcome(status, fields.get("result", fields.get("lines")) if status == "completed" else fields)


async def run_basic(sample: Sample) -> Record:
    """Run a sample as the engine itself does."""
    mine: list[str] = []
    begun.set(mine)
    pause.set(give_way)
    workflow = sample.workflow()
    context: Context[Any] = Context(workflow)
    log: list[Told] = []
    last: Event | None = None
    for fields in sample.runs:
        async with asyncio.timeout(LIMIT):
            handler = workflow.run(ctx=context, **fields)
            async for last in handler.stream_events(expose_internal=True):
                data = envelope(last)
                log.append(read(data))
                await _react(handler, sample, json.loads(data))
            with contextlib.suppress(Exception):
                await handler
    assert isinstance(last, StopEvent)
    return Record(outcome(terminal_status(last), log), log, mine)


async def _react(handler: WorkflowHandler, sample: Sample, event: Mapping[str, Any]) -> None:
    reaction = sample.reactions.get(event["type"])
    for action in reaction(event["value"]) if reaction is not None else ():
        if isinstance(action, Send):
            handler.ctx.send_event(action.event, action.step)
        else:
            await handler.cancel_run()


class Server:
    """A manager that serves one sample from a database file; ``idle_timeout`` as in the settings."""

    def __init__(self, path: Path, sample: Sample, *, idle_timeout: float | None = None) -> None:
        self.store = HookedStore(path)
        self.manager = RuntimeManager(self.store, idle_timeout=idle_timeout, engine_loop=uses_engine_loop())
        self.manager.add_workflow("sample", sample.workflow())
        self.sent: list[str] = []
        """The events that readers may have been sent before this server began."""
        self.runs: list[tuple[str | None, datetime | None]] = []
        """The run that the file held before this server began, with the time at which it began."""
        self._sample = sample

    async def start(self, hook: Hook | None = None) -> None:
        """Open the store and take up what it holds. A step at a crash point waits for the commit of what it wrote."""
        pause.set(self._flush)
        self.manager.listen()
        await self.store.open()
        self.store.hook = hook
        for handler in await self.store.query(HandlerQuery()):
            self.sent = await self._log(handler.handler_id)
            self.runs = [(handler.run_id, handler.started_at)]
        await self.manager.resume()

    async def _flush(self) -> None:
        await self.store.append()

    async def stop(self) -> None:
        """Leave the file as a clean stop does."""
        await self.manager.stop(1.0)
        await self.store.close()

    async def _log(self, handler_id: str) -> list[str]:
        events = await self.store.read_events(handler_id, -1, 100_000)
        assert [event.sequence for event in events] == list(range(len(events))), "a gap in the sequences"
        return [event.data for event in events]

    async def finish(self) -> tuple[HandlerData, list[str]]:
        """Make the sample's runs, from wherever the file has them, and return the handler and its log at the end.

        Requests that were made before are repeated with their keys, as by a client that does not know whether they
        arrived.
        """
        handler_id: str | None = None
        async with asyncio.timeout(LIMIT):
            for number, fields in enumerate(self._sample.runs):
                key = IdempotencyKey(f"run {number}", f"run {number}")
                started = await self.manager.start("sample", RunRequest(dict(fields), handler_id, key=key))
                handler_id = started.handler_id
                await self._follow(handler_id)
            assert handler_id is not None
            return await self.manager.get_handler(handler_id), await self._log(handler_id)

    async def ended(self, handler_id: str) -> HandlerData:
        """The handler, when its run has ended."""
        await self._follow(handler_id)
        return await self.manager.get_handler(handler_id)

    async def _follow(self, handler_id: str) -> None:
        reader = await self.manager.open_cursor(handler_id, -1)
        while reader is not None and (page := await reader.next_page(LIMIT)):
            for event in page:
                await self._react(handler_id, json.loads(event.data))

    async def _react(self, handler_id: str, event: Mapping[str, Any]) -> None:
        reaction = self._sample.reactions.get(event["type"])
        for number, action in enumerate(reaction(event["value"]) if reaction is not None else ()):
            if isinstance(action, Cancel):
                with contextlib.suppress(HandlerNotRunning):
                    await self.manager.cancel(handler_id)
                continue
            data = json.loads(envelope(action.event))
            key = IdempotencyKey(f"{event['type']} {data} {number}", "")
            with contextlib.suppress(RunAlreadyEnded):
                await self.manager.send(handler_id, data, action.step, key)
