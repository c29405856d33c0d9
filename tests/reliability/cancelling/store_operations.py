"""Each coroutine of the store, with what must hold of it after it was cancelled somewhere.

``OPERATIONS`` has one entry for each; ``test_cancellation`` fails where the store has one that is not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from tests.harness.runs import until
from tests.reliability.cancelling.instrumented_loop import LIMIT, InstrumentedLoop, Outcome, Point, ended_tasks
from tests.store.making import event, run_started
from workflow_server.records import EndedHandler, KeyAnswered, ListCursor, ListFilter, Period, RunBegan
from workflow_server.store import HandlerQuery, PersistentHandler, SqliteWorkflowStore
from workflow_server.store.sqlite.connection import run_on
from workflow_server.store.sqlite.readers import READERS

SLICED = 2_100
"""Events of a handler whose deletion takes more than one slice."""

Work = Callable[[SqliteWorkflowStore, str], Coroutine[Any, Any, Any]]
Check = Callable[[SqliteWorkflowStore, str, Outcome], Coroutine[Any, Any, None]]


class StoreOperation(NamedTuple):
    """``prepare`` makes the handler ``name``, ``work`` is cancelled, ``check`` holds what is there against it."""

    prepare: Work
    work: Work
    check: Check


def named(name: str) -> HandlerQuery:
    return HandlerQuery(handler_id_in=[name])


async def rows_of(store: SqliteWorkflowStore, name: str) -> int:
    """The rows of a handler and of its events, also of one that is not to be seen any more."""
    statement = """SELECT (SELECT count(*) FROM handlers WHERE handler_id = :name)
        + (SELECT count(*) FROM all_events WHERE handler_id = :name)"""
    rows: int = await store._read(lambda sqlite: sqlite.execute(statement, {"name": name}).fetchone()[0])
    return rows


async def nothing(store: SqliteWorkflowStore, name: str) -> None:
    """Nothing is needed."""


async def one_run(store: SqliteWorkflowStore, name: str) -> None:
    answered = KeyAnswered("run:flow", name, name, f"{name}-1", "hash", "{}", 1.0)
    await store.commit(run_started(name), event(name, 0), event(name, 1), answered)


async def many_events(store: SqliteWorkflowStore, name: str) -> None:
    await store.commit(run_started(name), *(event(name, n) for n in range(SLICED)))


# -- Writing ---------------------------------------------------------------------------------------


async def append(store: SqliteWorkflowStore, name: str) -> None:
    await store.append(run_started(name), event(name, 0))


async def commit(store: SqliteWorkflowStore, name: str) -> None:
    await store.commit(run_started(name), event(name, 0))


async def flush(store: SqliteWorkflowStore, name: str) -> None:
    store.append(run_started(name), event(name, 0))
    await store.flush()


async def stored_whole(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
    """Check that a caller that goes away takes nothing back: the unit it handed over is stored, and all of it."""
    await store.flush()
    handlers, events = await store.query(named(name)), await store.read_events(name, -1, 10)
    assert (len(handlers), len(events)) == ((1, 1) if outcome.began else (0, 0)), outcome


async def update(store: SqliteWorkflowStore, name: str) -> None:
    state = {"state": {"state_data": {"n": 1}}}
    await store.update(
        PersistentHandler(handler_id=name, workflow_name="flow", status="completed", run_id=f"{name}-9", ctx=state)
    )


async def updated_whole(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
    await store.flush()
    run = await store.load_run(name)
    assert run is not None
    assert (run.status, run.state is not None) == (("completed", True) if outcome.began else ("running", False))


async def delete(store: SqliteWorkflowStore, name: str) -> int:
    return await store.delete(named(name))


async def deleted_or_untouched(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
    """All of the handler is there, or it is not seen any more and its rows go, also when nobody waits for it."""
    await store.flush()
    found = await store.query(named(name))
    if not outcome.cancelled:
        assert (found, outcome.answer) == ([], 1)
    if found:
        assert len(await store.read_events(name, -1, SLICED + 1)) == SLICED
    else:
        assert store._purge is not None
        async with asyncio.timeout(LIMIT):
            await store._purge.finished()
        assert await rows_of(store, name) == 0
    assert await store.delete(named(name)) == len(found)
    assert await rows_of(store, name) == 0


async def begin_deletion(store: SqliteWorkflowStore, name: str) -> None:
    await store.begin_deletion([name])


async def hidden_or_untouched(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
    """As after a deletion, of which nobody learns whether there was anything to delete."""
    await store.flush()
    assert bool(await store.query(named(name))) is not outcome.began
    await deleted_or_untouched(store, name, outcome._replace(cancelled=True))
    # What is done after a deletion reads, too.
    await until(lambda: "store-tidy" not in {task.get_name() for task in asyncio.all_tasks()})


async def deletions_ended(store: SqliteWorkflowStore, name: str) -> None:
    await store.begin_deletion([name])
    await store.deletions_ended()


async def shift_clocks(store: SqliteWorkflowStore, name: str) -> None:
    await store.shift_clocks(5.0)


async def clock_began(store: SqliteWorkflowStore, name: str) -> None:
    await one_run(store, name)
    await store.append(RunBegan(name, f"{name}-1", 100.0, 100.0))


async def shifted_once(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
    await store.flush()
    run = await store.load_run(name)
    assert run is not None
    assert run.alive_since == (105.0 if outcome.began else 100.0)


# -- Reading ---------------------------------------------------------------------------------------


def reading(read: Work, expected: Callable[[str, Any], bool]) -> StoreOperation:
    """A read: when it was cancelled, the next one gives what it should have given."""

    async def check(store: SqliteWorkflowStore, name: str, outcome: Outcome) -> None:
        assert outcome.error is None
        for answer in [await read(store, name), *([] if outcome.cancelled else [outcome.answer])]:
            assert expected(name, answer), answer

    return StoreOperation(one_run, read, check)


OPERATIONS: dict[str, StoreOperation] = {
    "append": StoreOperation(nothing, append, stored_whole),
    "commit": StoreOperation(nothing, commit, stored_whole),
    "flush": StoreOperation(nothing, flush, stored_whole),
    "update": StoreOperation(one_run, update, updated_whole),
    "delete": StoreOperation(many_events, delete, deleted_or_untouched),
    "begin_deletion": StoreOperation(many_events, begin_deletion, hidden_or_untouched),
    "deletions_ended": StoreOperation(many_events, deletions_ended, hidden_or_untouched),
    "shift_clocks": StoreOperation(clock_began, shift_clocks, shifted_once),
    "load_runs": reading(
        lambda store, name: store.load_runs([name], 1), lambda name, runs: [run.run_id for run in runs] == [f"{name}-1"]
    ),
    "load_run": reading(lambda store, name: store.load_run(name), lambda name, run: run.run_id == f"{name}-1"),
    "load_state": reading(
        lambda store, name: store.load_state(name, 1_000), lambda name, state: state.run_id == f"{name}-1"
    ),
    "running_runs": reading(
        lambda store, name: store.running_runs(), lambda name, runs: name in {run.handler_id for run in runs}
    ),
    "inbox_load": reading(lambda store, name: store.inbox_load(f"{name}-1"), lambda name, load: load == (0, 0, 0)),
    "untaken_events": reading(lambda store, name: store.untaken_events(f"{name}-1"), lambda name, events: events == []),
    "read_events": reading(
        lambda store, name: store.read_events(name, -1, 10), lambda name, events: [e.sequence for e in events] == [0, 1]
    ),
    "event_range": reading(lambda store, name: store.event_range(name), lambda name, bounds: bounds[:3] == (0, 1, 0)),
    "read_history": reading(
        lambda store, name: store.read_history(name, None, 10),
        lambda name, page: [entry.place.sequence for entry in page.entries] == [-1, 0, 1],
    ),
    "read_standing": reading(
        lambda store, name: store.read_standing(name, f"{name}-1"), lambda name, standing: standing is None
    ),
    "is_being_deleted": reading(
        lambda store, name: store.is_being_deleted(name), lambda name, deleted: deleted is False
    ),
    "find_answer": reading(
        lambda store, name: store.find_answer("run:flow", name), lambda name, answer: answer.handler_id == name
    ),
    "query": reading(lambda store, name: store.query(named(name)), lambda name, found: found[0].handler_id == name),
    "list_page": reading(
        lambda store, name: store.list_page(ListFilter(["running"]), ListCursor(1000.0, "", 1000.0, name)),
        lambda name, page: page.handlers[-1].handler_id == name or page.cursor.handler_id < name,
    ),
    "count_versions": reading(
        lambda store, name: store.count_versions(), lambda name, counts: sum(count.number for count in counts) > 0
    ),
    "read_period": reading(
        lambda store, name: store.read_period("flow", Period(0.0, 100.0, 30)),
        lambda name, found: found.is_known and sum(bucket.started for bucket in found.buckets) > 0,
    ),
    "ended_handlers": reading(
        lambda store, name: store.ended_handlers("completed", EndedHandler(0.0, ""), EndedHandler(9e9, ""), 9),
        lambda name, ended: ended == [],
    ),
    "count_ended": reading(lambda store, name: store.count_ended("failed", 0.0), lambda name, number: number == 0),
    "last_beyond": reading(lambda store, name: store.last_beyond(9), lambda name, last: last is None),
    "count_handlers": reading(lambda store, name: store.count_handlers(), lambda name, counts: bool(counts)),
}

# -- Those beside, and what must be left -----------------------------------------------------------


def bystanders(store: SqliteWorkflowStore, name: str, *, deletion: bool) -> list[asyncio.Task[Any]]:
    """One of each kind who waits for the store, at the same time as the operation. A ``deletion`` would finish those
    before it, too."""
    kept, gone = f"{name}-kept", f"{name}-gone"

    async def commits() -> None:
        await store.commit(run_started(kept), event(kept, 0))
        assert await store.load_run(kept) is not None

    async def appends() -> None:
        await store.append(event(kept, 1))
        assert [one.sequence for one in await store.read_events(kept, -1, 9)] == [0, 1]

    async def deletes() -> None:
        await store.append(run_started(gone))
        assert await store.delete(named(gone)) == 1

    works = [commits(), appends(), store.flush(), store.load_run(name), store.running_runs()]
    if deletion:
        works.append(deletes())
    return [asyncio.create_task(work, name=f"beside {place}") for place, work in enumerate(works)]


async def nothing_is_left(store: SqliteWorkflowStore) -> None:
    """No transaction, no backlog, no lock and no reader is held."""
    for _ in range(3):
        await store.flush()
        if not store.backlog:
            # Otherwise the server has noted meanwhile that it is alive, say.
            break
    assert store.problem is None
    assert store.backlog == 0
    assert not store._deleting.locked()
    opened, pool = store._database.opened, store._database.readers
    assert opened is not None
    assert pool is not None
    assert pool._free.qsize() == READERS
    for connection in (opened.connection, *pool._connections):
        assert not await run_on(connection, lambda sqlite: sqlite.in_transaction)


async def cancel_call(
    store: SqliteWorkflowStore, operation: StoreOperation, names: Iterator[int], point: Point
) -> Outcome:
    """Cancel one call of an open store, with others beside it, and hold what is there against the promises."""
    number, before = next(names), asyncio.all_tasks()
    name = f"h{number}"
    await operation.prepare(store, name)
    with InstrumentedLoop() as loop:
        beside = bystanders(store, name, deletion=number % 2 == 0)
        outcome = await loop.cancel(operation.work(store, name), point)
        await asyncio.wait_for(asyncio.gather(*beside), LIMIT)
    await operation.check(store, name, outcome)
    await nothing_is_left(store)
    await ended_tasks(before)
    return outcome
