"""Group commit on a backend that is a list: what it promises, it promises for any database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.harness.runs import until
from workflow_server.errors import CommitUnknown, StorageError, StorageFull, StoreUnavailable, UnitRefused
from workflow_server.records import Record
from workflow_server.store import group_commit
from workflow_server.store.backend import Backend, FailureKind, Refusals, TransactionError
from workflow_server.store.group_commit import GroupCommit
from workflow_server.store.internal_records import ClocksShifted, Entries
from workflow_server.store.listeners import CommitListeners

from .making import event, run_ended, run_started, tick


class ListBackend(Backend):
    """Keeps transactions in a list, and fails as it is told."""

    def __init__(self) -> None:
        self.transactions: list[list[Entries]] = []
        self.failures: list[FailureKind] = []
        """The fate of the next commits; FULL stays for all but urgent ones."""
        self.unstorable: set[Record] = set()
        self.maintained = 0
        self.given_back = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.began = asyncio.Event()

    async def commit(self, units: Sequence[Entries]) -> Refusals:
        self.began.set()
        await self.go_on.wait()
        if self.failures:
            kind = self.failures[0] if self.failures[0] is FailureKind.FULL else self.failures.pop(0)
            raise TransactionError(kind, kind.value)
        return self._keep(units)

    async def commit_urgent(self, units: Sequence[Entries]) -> Refusals:
        return self._keep(units)

    async def maintain(self) -> None:
        self.maintained += 1

    async def erase_deleted(self) -> bool:
        return True

    async def give_space_back(self) -> bool:
        if self.failures:
            raise TransactionError(self.failures[0], self.failures.pop(0).value)
        self.given_back += 1
        return True

    def _keep(self, units: Sequence[Entries]) -> Refusals:
        refused = {place: "made by a test" for place, unit in enumerate(units) if self.unstorable & {*unit}}
        self.transactions.append([unit for place, unit in enumerate(units) if place not in refused])
        return refused


class Writing:
    """Group commit on a list, and what it reported."""

    def __init__(self) -> None:
        self.backend = ListBackend()
        self.heard: list[Record] = []
        self.refused: list[Entries] = []
        self.failures: list[StorageError] = []
        listeners = CommitListeners()
        listeners.subscribe(self.heard.extend)
        self.writer = GroupCommit(
            self.backend,
            backoff=(0.0, 0.0),
            listeners=listeners,
            on_refused=lambda entries, _: self.refused.append(entries),
            on_failure=self.failures.append,
        )


@pytest.fixture
async def writing() -> AsyncIterator[Writing]:
    writing = Writing()
    yield writing
    writing.backend.failures.clear()
    await writing.writer.close()


async def test_units_gather_while_a_transaction_runs(writing: Writing) -> None:
    backend, writer = writing.backend, writing.writer
    backend.go_on.clear()
    first = asyncio.ensure_future(writer.append((run_started("a"),)))
    await backend.began.wait()
    others = [asyncio.ensure_future(writer.append((tick("a", n),))) for n in range(3)]
    own = asyncio.ensure_future(writer.commit((ClocksShifted(1.0),), internal=True))
    await asyncio.sleep(0)
    assert writer.backlog == 5
    backend.go_on.set()
    await asyncio.gather(first, *others, own)
    ticks = [tick("a", n) for n in range(3)]
    assert backend.transactions == [[(run_started("a"),)], [*((one,) for one in ticks), (ClocksShifted(1.0),)]]
    assert writing.heard == [run_started("a"), *ticks], "listeners hear of the contract's records alone"
    assert (writer.committed[:2], writer.backlog, backend.maintained) == ((2, 5), 0, 2)


@pytest.mark.parametrize("patience", [60.0, 0.0])
async def test_what_follows_on_a_transaction_shares_the_next(
    writing: Writing, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """The next one waits for that where others wait for it already, and for a moment only."""
    monkeypatch.setattr(group_commit, "GATHER", patience)
    backend, writer = writing.backend, writing.writer
    first, other, next_step = ((event("a", 0),), (event("b", 0),), (event("a", 1),))

    async def go_on() -> None:
        await writer.append(first)
        for _ in range(8):
            await asyncio.sleep(0)
        await writer.append(next_step)

    backend.go_on.clear()
    going_on = asyncio.ensure_future(go_on())
    await backend.began.wait()
    waiting = asyncio.ensure_future(writer.append(other))
    await asyncio.sleep(0)
    backend.go_on.set()
    await asyncio.gather(going_on, waiting)
    assert backend.transactions == ([[first], [other, next_step]] if patience else [[first], [other], [next_step]])


async def test_refused_units_are_those_of_the_backend(writing: Writing) -> None:
    writing.backend.unstorable.add(event("a", 1))
    writing.writer.append(())
    before, bad = writing.writer.append((event("a", 0),)), writing.writer.append((event("a", 1), event("a", 2)))
    with pytest.raises(UnitRefused, match="made by a test"):
        await bad
    await before
    assert writing.heard == [event("a", 0)]
    assert writing.refused == [(event("a", 1), event("a", 2))]


async def test_a_cancellation_takes_the_room_that_is_kept(writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "FULL_RETRY", 0.02)
    backend, writer = writing.backend, writing.writer
    backend.failures.append(FailureKind.FULL)
    others, before = writer.append((event("b", 0),)), writer.append((event("a", 0),))
    with pytest.raises(StorageFull):
        await writer.commit((run_started("c"),))
    cancelled = (run_ended("a", status="cancelled"),)
    await writer.append(cancelled)
    await before
    assert backend.transactions == [[(event("a", 0),), cancelled]]
    assert not await writer.erase_deleted()
    backend.failures.clear()
    await others
    assert backend.transactions[1:] == [[(event("b", 0),)]]
    assert await writer.erase_deleted()
    assert (writer.problem, writing.failures) == (None, [])


async def test_what_may_succeed_later_is_tried_again(writing: Writing) -> None:
    writing.backend.failures += [FailureKind.UNAVAILABLE] * 2
    await writing.writer.append((run_started("a"),))
    assert writing.heard == [run_started("a")]
    writing.backend.failures += [FailureKind.UNAVAILABLE] * 3
    with pytest.raises(StoreUnavailable):
        await writing.writer.commit((run_started("b"),))
    await writing.writer.append((run_started("c"),))
    assert writing.heard == [run_started("a"), run_started("c")]


@pytest.mark.parametrize(
    ("kind", "error"), [(FailureKind.UNKNOWN, CommitUnknown), (FailureKind.BROKEN, StoreUnavailable)]
)
async def test_a_failure_for_good_is_told_to_all_once(
    writing: Writing, kind: FailureKind, error: type[StorageError]
) -> None:
    writing.backend.failures.append(kind)
    units = [writing.writer.append((run_started(name),)) for name in "ab"]
    for unit in units:
        with pytest.raises(error):
            await unit
    with pytest.raises(error):
        await writing.writer.commit((run_started("c"),))
    assert [type(failure) for failure in writing.failures] == [error]
    assert (writing.backend.transactions, writing.heard) == ([], [])


async def test_maintenance_that_fails_ends_the_store(writing: Writing, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise TransactionError(FailureKind.UNKNOWN, "made by a test")

    monkeypatch.setattr(writing.backend, "maintain", fail)
    await writing.writer.append((run_started("a"),))
    await until(lambda: bool(writing.failures))
    assert isinstance(writing.failures[0], CommitUnknown)


async def test_space_is_given_back_between_transactions(writing: Writing) -> None:
    """Once for all who ask at the same time; never where units wait for room."""
    backend, writer = writing.backend, writing.writer
    backend.go_on.clear()
    unit = asyncio.ensure_future(writer.append((run_started("a"),)))
    await backend.began.wait()
    asked = [asyncio.ensure_future(writer.give_space_back()) for _ in range(2)]
    await asyncio.sleep(0)
    assert backend.given_back == 0
    backend.go_on.set()
    assert await asyncio.gather(*asked) == [True, True]
    await unit
    assert backend.given_back == 1
    await writer.close()
    assert not await writer.give_space_back()


async def test_a_failure_while_space_is_given_back_ends_the_store(writing: Writing) -> None:
    writing.backend.failures.append(FailureKind.UNKNOWN)
    assert not await writing.writer.give_space_back()
    assert [type(failure) for failure in writing.failures] == [CommitUnknown]
    with pytest.raises(CommitUnknown):
        await writing.writer.append((run_started("a"),))
