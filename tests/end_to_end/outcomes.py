"""Runs that are killed in the middle: where each has to be when the server dies, and what became of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.harness.api import Json, Reader, StreamEvent
from tests.harness.ledger import KILLED, Entry
from tests.harness.server_process import DurableServer


@dataclass
class Plan:
    """A run, and where it has to be when the server is killed."""

    workflow: str
    fields: Json = field(default_factory=dict)
    gates: dict[str, int] = field(default_factory=dict)
    """The gates that have to be reached, and how often."""
    recorded: dict[str, int] = field(default_factory=dict)
    """The steps whose results have to be recorded, and how many of them."""
    published: tuple[str, ...] = ()
    """The types of the events that have to be published."""
    after: Callable[[DurableServer, str], Awaitable[None]] | None = None
    """The action on the handler after the restart, once all gates are open."""


class Outcome(NamedTuple):
    """The end of a run that was interrupted, and how it got there."""

    begun: Json
    ended: Json
    events: list[StreamEvent]
    """The events that a reader got who was there from the start."""
    read_again: list[StreamEvent]
    """The events that a reader got who came after the end."""
    entries: list[Entry]

    @property
    def result(self) -> object:
        """The value of its plain StopEvent."""
        assert self.ended["status"] == "completed", self.ended
        return self.ended["result"]["value"]["result"]

    @property
    def begun_before(self) -> Counter[tuple[str, str]]:
        """Number of times that each step began with each item before the kill."""
        return _begun(self.entries[: self._killed])

    @property
    def begun_after(self) -> Counter[tuple[str, str]]:
        """Number of times that each step began with each item after the kill."""
        return _begun(self.entries[self._killed :])

    @property
    def interrupted(self) -> set[tuple[str, str]]:
        """The steps and items that had begun and not ended when the server was killed."""
        return set(self.begun_before - self._ended_before())

    @property
    def recorded(self) -> set[tuple[str, str]]:
        """The steps and items that had ended before."""
        return set(self._ended_before())

    def _ended_before(self) -> Counter[tuple[str, str]]:
        return Counter((entry.step, entry.item) for entry in self.entries[: self._killed] if entry.kind == "end")

    @property
    def _killed(self) -> int:
        return next(index for index, entry in enumerate(self.entries) if entry.kind == KILLED)


async def interrupt(server: DurableServer, plans: dict[str, Plan]) -> dict[str, Outcome | BaseException]:
    """Start the runs, kill the server when each is where it has to be, start it again, open the gates, and see.

    An error of one run is its outcome, and does not hide the others.
    """
    begun = {name: await server.api.start(plan.workflow, **plan.fields) for name, plan in plans.items()}
    readers = {name: Reader(server.api, handler["handler_id"]) for name, handler in begun.items()}
    places = (_in_place(server, plan, begun[name]["handler_id"], readers[name]) for name, plan in plans.items())
    problems = dict(zip(plans, await asyncio.gather(*places, return_exceptions=True), strict=True))
    await server.restart()
    server.ledger.open(*(gate for plan in plans.values() for gate in plan.gates))
    ends = (_ended(server, plan, begun[name], readers[name]) for name, plan in plans.items())
    outcomes = dict(zip(plans, await asyncio.gather(*ends, return_exceptions=True), strict=True))
    for reader in readers.values():
        await reader.stop()
    return {name: problems[name] or outcome for name, outcome in outcomes.items()}


async def _in_place(server: DurableServer, plan: Plan, handler_id: str, reader: Reader) -> None:
    for gate, times in plan.gates.items():
        await server.ledger.reached(gate, times, handler_id)
    for step, times in plan.recorded.items():
        await reader.until("StepStateChanged", times, name=step, step_state="not_running")
    for kind in plan.published:
        await reader.until(kind)


async def _ended(server: DurableServer, plan: Plan, begun: Json, reader: Reader) -> Outcome:
    handler_id = begun["handler_id"]
    if plan.after is not None:
        await plan.after(server, handler_id)
    events = await reader.finished()
    entries = [entry for entry in server.ledger.entries() if entry.handler_id == handler_id or entry.kind == KILLED]
    read_again = await server.api.events(handler_id, internal=True)
    return Outcome(begun, await server.api.handler(handler_id), events, read_again, entries)


def _begun(entries: list[Entry]) -> Counter[tuple[str, str]]:
    return Counter((entry.step, entry.item) for entry in entries if entry.kind == "begin")
