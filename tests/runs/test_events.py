"""Event logs and their readers, over a real store."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.store.fault_injection import AFTER, HookedStore
from workflow_server.errors import HandlerNotFound, ShuttingDown
from workflow_server.execution.exceptions import QueueTaken
from workflow_server.records import EventAppended, QueueAdvanced, Record, RunStarted
from workflow_server.runs import events as event_log
from workflow_server.runs.events import EventLog, EventLogs, EventReader, take_queue
from workflow_server.store import group_commit
from workflow_server.store.base import HandlerQuery
from workflow_server.store.sqlite.store import SqliteWorkflowStore


@pytest.fixture
async def store() -> AsyncIterator[SqliteWorkflowStore]:
    store = SqliteWorkflowStore(":memory:")
    await store.open()
    await store.append(RunStarted("h", "w", "r", 1.0, 0, None))
    yield store
    await store.close()


@pytest.fixture
def logs(store: SqliteWorkflowStore) -> EventLogs:
    logs = EventLogs(store, asyncio.Event())

    def publish(records: object) -> None:
        assert isinstance(records, list)
        for record in records:
            log = logs.in_use("h")
            if isinstance(record, EventAppended) and log is not None:
                log.publish(record)
            if isinstance(record, QueueAdvanced):
                logs.queue_advanced(record)

    store.subscribe(publish)
    return logs


@pytest.fixture
def log(logs: EventLogs) -> EventLog:
    return logs.new("h")


async def write(store: SqliteWorkflowStore, log: EventLog, count: int) -> None:
    for _ in range(count):
        store.append(log.append("r", f'{{"n":{log.next_sequence}}}', internal=False))
    await store.flush()


async def read(reader: EventReader) -> list[int]:
    sequences: list[int] = []
    while page := await reader.next_page(0.01):
        sequences += [event.sequence for event in page]
    return sequences


async def test_an_event_is_seen_only_when_it_is_committed(store: SqliteWorkflowStore, log: EventLog) -> None:
    reader = EventReader(log, -1, asyncio.Event())
    commit = store.append(log.append("r", "{}", internal=False))
    assert log.committed == -1
    await commit
    assert await read(reader) == [0]


async def test_a_reader_returns_before_the_server_hears_of_a_commit(tmp_path: Path) -> None:
    heard, store = threading.Event(), HookedStore(tmp_path / "db.sqlite3")
    await store.open()
    await store.append(RunStarted("h", "w", "r", 1.0, 0, None))
    logs = EventLogs(store, asyncio.Event())
    log = logs.new("h")

    def publish(records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, EventAppended):
                log.publish(record)

    store.subscribe(publish)
    await write(store, log, 2)
    committed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(moment: str, _: object) -> None:
        if moment == AFTER:
            loop.call_soon_threadsafe(committed.set)
            heard.wait(20)

    store.hook = hold
    writing = asyncio.create_task(write(store, log, 1), name="writes")
    try:
        await committed.wait()
        first = await logs.open_cursor("h", -1)
        assert first is not None
        page = await first.next_page(0.01)
        assert page
        again = await logs.open_cursor("h", page[-1].sequence)
        assert again is not None
    finally:
        heard.set()
    await writing
    assert [event.sequence for event in page] + await read(again) == [0, 1, 2]
    await store.close()


async def test_an_event_that_a_reader_waits_for_is_committed_at_once(
    store: SqliteWorkflowStore, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GATHER", 3_600.0)
    reader = EventReader(log, -1, asyncio.Event())
    for sequence in range(3):
        waiting = asyncio.create_task(reader.next_page(20), name="waits")
        await asyncio.sleep(0)
        store.append(log.append("r", "{}", internal=False))
        assert [event.sequence for event in await waiting or ()] == [sequence]
    unread = store.append(log.append("r", "{}", internal=False))
    await asyncio.sleep(0.05)
    assert log.committed == 2
    await unread


async def test_the_times_of_a_log_never_go_back(
    store: SqliteWorkflowStore, logs: EventLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(event_log, "time", SimpleNamespace(time=lambda: clock.now))
    log = logs.new("h")
    reader = EventReader(log, -1, asyncio.Event())
    for clock.now in (100.0, 200.0, 50.0, 150.0):
        await write(store, log, 1)
    assert [event.time for event in await reader.next_page(0.01) or ()] == [100.0, 200.0, 200.0, 200.0]
    del log, reader
    gc.collect()
    await write(store, await logs.get("h"), 1)
    gc.collect()
    stored = await store.load_run("h")
    assert stored is not None
    assert logs.in_use("h") is None
    await write(store, logs.of(stored), 1)
    clock.now = 300.0
    await write(store, await logs.get("h"), 1)
    assert [event.time for event in await store.read_events("h", 3, 10)] == [200.0, 200.0, 300.0]


async def test_a_reader_that_is_far_behind_gets_every_event_once(
    store: SqliteWorkflowStore, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", 10)
    late = EventReader(log, -1, asyncio.Event())
    await write(store, log, 1_200)
    assert log._recent is not None
    assert len(log._recent) == 10
    assert await read(late) == list(range(1_200))
    assert await read(EventReader(log, 1_195, asyncio.Event())) == [1_196, 1_197, 1_198, 1_199]


async def test_what_a_log_keeps_for_readers_is_bounded_in_characters(store: SqliteWorkflowStore, log: EventLog) -> None:
    reader = EventReader(log, -1, asyncio.Event())
    for _ in range(30):
        store.append(log.append("r", f'"{"x" * 100_000}"', internal=False))
    await store.flush()
    assert log._recent is not None
    assert sum(len(event.data) for event in log._recent) <= event_log.RECENT_CHARACTERS
    assert len(await read(reader)) == 30


async def test_an_unread_log_keeps_no_events_and_a_late_reader_gets_all(
    store: SqliteWorkflowStore, log: EventLog
) -> None:
    await write(store, log, 3)
    assert log._recent is None
    first, second = EventReader(log, -1, asyncio.Event()), EventReader(log, 1, asyncio.Event())
    await write(store, log, 2)
    assert log._recent is not None
    assert [event.sequence for event in log._recent] == [3, 4]
    assert (await read(first), await read(second)) == ([0, 1, 2, 3, 4], [2, 3, 4])
    await first.close()
    await write(store, log, 1)
    assert await read(second) == [5]
    await second.close()
    assert log._recent is None


@pytest.mark.parametrize("recent", [0, 2_000])
async def test_what_a_reader_gets_at_once_is_bounded_in_characters(
    store: SqliteWorkflowStore, log: EventLog, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", recent)
    for size in (1, 300_000, 40_000, 40_000, 40_000):
        store.append(log.append("r", f'"{"x" * size}"', internal=False))
    await store.flush()
    reader = EventReader(log, -1, asyncio.Event())
    pages = []
    while page := await reader.next_page(0.01):
        pages.append([event.sequence for event in page])
    assert pages == [[0, 1], [2, 3], [4]]


async def test_a_waiting_reader_is_woken_by_the_next_event(store: SqliteWorkflowStore, log: EventLog) -> None:
    reader = EventReader(log, -1, asyncio.Event())
    waiting = asyncio.create_task(reader.next_page(30), name="reader")
    await asyncio.sleep(0)
    await write(store, log, 1)
    page = await asyncio.wait_for(waiting, 10)
    assert page is not None
    assert [event.sequence for event in page] == [0]


async def test_a_stream_ends_when_the_run_has(store: SqliteWorkflowStore, log: EventLog) -> None:
    reader = EventReader(log, -1, asyncio.Event())
    await write(store, log, 2)
    log.end()
    assert await read(reader) == [0, 1]
    assert await reader.next_page(0.01) == []


async def test_a_stream_breaks_off_when_the_server_stops(log: EventLog) -> None:
    closing = asyncio.Event()
    reader = EventReader(log, -1, closing)
    waiting = asyncio.create_task(reader.next_page(30), name="reader")
    await asyncio.sleep(0)
    closing.set()
    log.wake()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(waiting, 10)


async def test_a_stop_ends_a_stream_only_where_all_of_it_was_read(store: SqliteWorkflowStore, log: EventLog) -> None:
    closing = asyncio.Event()
    behind, done = EventReader(log, -1, closing), EventReader(log, -1, closing)
    await write(store, log, 2)
    log.end()
    assert await done.next_page(0.01)
    closing.set()
    assert await done.next_page(0.01) == []
    with pytest.raises(ShuttingDown):
        await behind.next_page(0.01)


async def test_a_reader_who_had_not_read_all_of_a_deleted_handler_is_told(
    store: SqliteWorkflowStore, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", 0)
    reader = EventReader(log, -1, asyncio.Event())
    await write(store, log, 2)
    await store.delete(HandlerQuery(handler_id_in=["h"]))
    log.end()
    with pytest.raises(HandlerNotFound):
        await reader.next_page(0.01)


async def test_the_queue_goes_on_with_the_first_unwritten_event(
    store: SqliteWorkflowStore, logs: EventLogs, log: EventLog
) -> None:
    await write(store, log, 5)
    first = await take_queue(log, 1, asyncio.Event(), logs)
    assert await first.next_page(0.01)
    await first.written(1)
    await first.close()
    second = await take_queue(log, 1, asyncio.Event(), logs)
    assert await read(second) == [2, 3, 4]
    await second.close()
    await store.flush()
    assert (await store.event_range("h") or ())[:3] == (0, 4, 2), "the place in the queue is durable"


async def test_the_queue_goes_on_though_its_place_is_not_committed(store: SqliteWorkflowStore, logs: EventLogs) -> None:
    await write(store, logs.new("h"), 5)
    for last in (1, 3):
        reader = await take_queue(await logs.get("h"), 1, asyncio.Event(), logs)
        await reader.written(last)
        await reader.close()
        del reader
        gc.collect()
        assert logs.in_use("h") is not None, "what is read from the store is older"
        assert (await logs.get("h")).queue_next == last + 1
    await store.flush()
    gc.collect()
    assert logs.in_use("h") is None, "it is no longer in use than the store needs"
    assert (await logs.get("h")).queue_next == 4


async def test_only_one_reader_holds_the_queue(logs: EventLogs, log: EventLog) -> None:
    holder = await take_queue(log, 0, asyncio.Event(), logs)
    with pytest.raises(QueueTaken):
        await take_queue(log, 0, asyncio.Event(), logs)
    with pytest.raises(QueueTaken):
        await take_queue(log, 0.01, asyncio.Event(), logs)
    await holder.close()
    await (await take_queue(log, 0, asyncio.Event(), logs)).close()


async def test_a_reader_cancelled_as_the_queue_comes_free_passes_it_on(logs: EventLogs, log: EventLog) -> None:
    for turns in range(6):
        holder = await take_queue(log, 0, asyncio.Event(), logs)
        waiting = asyncio.create_task(take_queue(log, 30, asyncio.Event(), logs), name="waits")
        await asyncio.sleep(0.001)
        await holder.close()
        for _ in range(turns):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            await waiting.result().close()
        await (await take_queue(log, 0, asyncio.Event(), logs)).close()


async def test_a_deleted_handlers_reader_moves_nothing_of_the_next(
    store: SqliteWorkflowStore, logs: EventLogs, log: EventLog
) -> None:
    await write(store, log, 3)
    reader = await take_queue(log, 1.0, asyncio.Event(), logs)
    await reader.written(2)
    logs.forget("h")
    await store.delete(HandlerQuery(handler_id_in=["h"]))
    log = logs.new("h")
    await store.append(RunStarted("h", "w", "r2", 1.0, 0, None))
    await reader.close()
    await store.flush()
    assert await store.event_range("h") == (0, -1, 0, None)


async def test_who_asks_for_a_log_while_it_is_made_gets_that_one(store: SqliteWorkflowStore, logs: EventLogs) -> None:
    asking = asyncio.create_task(logs.get("h"))
    await asyncio.sleep(0)
    made = logs.new("h")
    assert await asking is made
