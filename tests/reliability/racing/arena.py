"""A manager whose runs end, leave memory and come back within milliseconds, and the order of what was committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent

from workflow_server.records import (
    EventAppended,
    InboxPosted,
    Record,
    RunBegan,
    RunEnded,
    RunLoaded,
    RunReleased,
    RunStarted,
)
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore

RIVALS = ("end", "own end", "release", "resumption")
"""Rivals of a request: the end that an event brings, the end that comes by itself, and a run's ways out of memory and
back."""
TURN = "turn"
"""Rival of a queued run's requests: its slot."""
SIDE_BY_SIDE = 8
"""Races at a time: their commits share transactions, and what is read for one falls into the commit of another."""
IDLE_TIMEOUT = 0.02
GO = {"type": "Go", "value": {}}
PATIENCE = 30.0


def note(number: int) -> dict[str, object]:
    """An event that a run takes while it waits."""
    return {"type": "Note", "value": {"number": number}}


class Begin(StartEvent):
    """``waits``: for ``Go``, and takes notes meanwhile; it ends by itself otherwise."""

    waits: bool = True


class Go(HumanResponseEvent):
    """Ends the run."""


class Note(HumanResponseEvent):
    number: int


class Kept(Event):
    number: int


class Waiting(Event):
    """The run waits now."""


class Racer(Workflow):
    """Counts the runs of its handler."""

    @step
    async def begin(self, ctx: Context, ev: Begin) -> StopEvent:
        if ev.waits:
            await ctx.wait_for_event(Go, waiter_event=Waiting(), timeout=None)
        async with ctx.store.edit_state() as state:
            state["runs"] = state.get("runs", 0) + 1
        return StopEvent(result=await ctx.store.get("runs"))

    @step
    async def take(self, ctx: Context, ev: Note) -> None:
        ctx.write_event_to_stream(Kept(number=ev.number))


class Commits:
    """All that was committed, in order."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._changed: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def add(self, records: Sequence[Record]) -> None:
        """A commit came."""
        self.records.extend(records)
        for run_id in {run_id for record in records if (run_id := getattr(record, "run_id", None))}:
            self._changed[run_id].set()

    async def until(self, kind: type[Record], run_id: str, data: str = "") -> None:
        """Return when the run has committed such a record, with this in its data."""
        async with asyncio.timeout(PATIENCE):
            while not any(data in getattr(record, "data", "") for record in self.of(run_id, kind)):
                self._changed[run_id].clear()
                await self._changed[run_id].wait()

    def of(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        """Return the run's committed records of these kinds."""
        return [
            record for record in self.records if isinstance(record, kinds) and getattr(record, "run_id", "") == run_id
        ]

    def forget(self) -> None:
        """Forget all commits so far; called when nothing is under way."""
        self.records.clear()
        self._changed.clear()


class Arena:
    """Holds the races on one manager."""

    def __init__(self, manager: RuntimeManager, commits: Commits) -> None:
        self.manager = manager
        self.commits = commits
        self.pace = dict.fromkeys((*RIVALS, TURN), 0.005) | {"release": IDLE_TIMEOUT}
        """Seconds after which each rival of a request comes about, as far as that is known."""

    def has_come_about(self, rival: str, run_id: str) -> bool:
        """Return whether the rival's outcome is durable."""
        kind: type[Record] = {"release": RunReleased, "resumption": RunLoaded, TURN: RunBegan}.get(rival, RunEnded)
        return bool(self.commits.of(run_id, kind))

    def learn(self, rival: str, *, early: bool) -> None:
        """The request came before its rival, or after it: the next one is to come later, or earlier."""
        self.pace[rival] *= 1.1 if early else 0.9

    async def waiting(self, run_id: str) -> None:
        """Return when the run has begun to wait."""
        await self.commits.until(EventAppended, run_id, '"Waiting"')

    async def released(self, run_id: str) -> None:
        """Return when the run has left memory."""
        await self.commits.until(RunReleased, run_id)

    async def ended(self, run_id: str) -> None:
        """Return when the run's end is durable."""
        await self.commits.until(RunEnded, run_id)

    def posted_after_the_end(self, run_id: str) -> bool:
        """Return whether an event for the run was acknowledged though the run had ended."""
        kinds = [type(record) for record in self.commits.of(run_id, InboxPosted, RunEnded)]
        return RunEnded in kinds and InboxPosted in kinds[kinds.index(RunEnded) :]

    def starts(self, handler_id: str) -> int:
        """Return the number of runs of the handler that were committed."""
        return sum(
            isinstance(record, RunStarted) and record.handler_id == handler_id for record in self.commits.records
        )


@asynccontextmanager
async def arena(path: Path) -> AsyncIterator[Arena]:
    """A manager over a file: its reads have connections of their own, and fall before, into and after commits."""
    store = SqliteWorkflowStore(path)
    manager = RuntimeManager(store, idle_timeout=IDLE_TIMEOUT)
    manager.add_workflow("racer", Racer(timeout=None))
    for place in range(SIDE_BY_SIDE):
        manager.add_workflow(f"queue{place}", Racer(timeout=None, num_concurrent_runs=1))
    manager.listen()
    commits = Commits()
    store.subscribe(commits.add)
    await store.open()
    await manager.resume()
    try:
        yield Arena(manager, commits)
    finally:
        await manager.stop(5.0)
        await store.close()
