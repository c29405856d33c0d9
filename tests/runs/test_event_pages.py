"""Pages of events that the readers of a handler share, over a real store."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence

import pytest

from workflow_server.errors import HandlerNotFound, StoreUnavailable
from workflow_server.records import EventAppended, EventRange, Record, RunStarted, StoredEvent
from workflow_server.runs import event_pages
from workflow_server.runs import events as event_log
from workflow_server.runs.event_pages import PAGE, EventPage, Pieces
from workflow_server.runs.events import EventLog, EventReader
from workflow_server.store.sqlite.store import SqliteWorkflowStore

NEVER = asyncio.Event()


class CountingStore(SqliteWorkflowStore):
    """Counts how often events are read, and reads them when it may."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.reads = 0
        self.began = asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.failure: Exception | None = None

    async def read_events(
        self, handler_id: str, after: int, limit: int, characters: int | None = None
    ) -> list[StoredEvent]:
        self.reads += 1
        self.began.set()
        await self.may_read.wait()
        if self.failure is not None:
            raise self.failure
        return await super().read_events(handler_id, after, limit, characters)


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CountingStore]:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", 0)
    store = CountingStore()
    await store.open()
    await store.append(RunStarted("h", "w", "r", 1.0, 0, None))
    yield store
    await store.close()


@pytest.fixture
def log(store: CountingStore) -> EventLog:
    log = EventLog(store, "h", EventRange(0, -1, 0, None), ended=False)

    def publish(records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, EventAppended):
                log.publish(record)

    store.subscribe(publish)
    return log


async def write(store: CountingStore, log: EventLog, count: int, size: int = 1) -> None:
    for _ in range(count):
        store.append(log.append("r", f'"{"x" * size}"', internal=False))
    await store.flush()


async def read(reader: EventReader) -> list[int]:
    sequences: list[int] = []
    while page := await reader.next_page(0.01):
        sequences += [event.sequence for event in page]
    return sequences


def pages_in_memory() -> list[EventPage]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, EventPage)]


async def test_readers_at_the_same_place_share_a_read(store: CountingStore, log: EventLog) -> None:
    await write(store, log, 2 * PAGE + 10)
    readers = [EventReader(log, -1, NEVER) for _ in range(20)]
    assert await asyncio.gather(*map(read, readers)) == [list(range(2 * PAGE + 10))] * 20
    assert store.reads == 3


async def test_a_reader_who_comes_a_little_later_gets_what_was_read(store: CountingStore, log: EventLog) -> None:
    await write(store, log, 2 * PAGE)
    first, second = EventReader(log, -1, NEVER), EventReader(log, -1, NEVER)
    assert await read(first) == await read(second) == list(range(2 * PAGE))
    assert store.reads == 2


async def test_a_page_that_has_room_is_read_anew(store: CountingStore, log: EventLog) -> None:
    readers = [EventReader(log, -1, NEVER) for _ in range(2)]
    await write(store, log, 3)
    assert len(await readers[0].next_page(0.01) or ()) == 3
    await write(store, log, 2)
    assert [event.sequence for event in await readers[1].next_page(0.01) or ()] == [0, 1, 2, 3, 4]


async def test_a_reader_who_leaves_takes_no_read_from_the_others(store: CountingStore, log: EventLog) -> None:
    await write(store, log, 3)
    store.may_read.clear()
    leaving, staying = (asyncio.create_task(read(EventReader(log, -1, NEVER)), name="reader") for _ in range(2))
    await store.began.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    store.may_read.set()
    assert (leaving.cancelled(), await staying, store.reads) == (True, [0, 1, 2], 1)


async def test_a_read_that_fails_is_told_to_all_and_made_again(store: CountingStore, log: EventLog) -> None:
    await write(store, log, 3)
    readers = [EventReader(log, -1, NEVER) for _ in range(3)]
    store.failure = StoreUnavailable(reason="made by a test")
    told = await asyncio.gather(*(reader.next_page(0.01) for reader in readers), return_exceptions=True)
    assert told == [store.failure] * 3
    store.failure = None
    assert await read(readers[0]) == [0, 1, 2]


async def test_what_is_kept_for_later_readers_is_bounded(store: CountingStore, log: EventLog) -> None:
    readers = [EventReader(log, -1, NEVER) for _ in range(2)]
    await write(store, log, 40, event_pages.PAGE_CHARACTERS // 2)
    await read(readers[0])
    kept = pages_in_memory()
    assert 0 < sum(page.size for page in kept) <= event_pages.KEPT_SIZE
    del kept
    await write(store, log, 2, 2 * event_pages.KEPT_SIZE)
    assert await read(readers[0]) == [40, 41]
    assert sum(page.size for page in pages_in_memory()) <= event_pages.KEPT_SIZE
    await write(store, log, PAGE * (event_pages.KEPT_PAGES + 2), 1)
    await read(readers[0])
    assert len(pages_in_memory()) == event_pages.KEPT_PAGES


@pytest.mark.parametrize("recent", [0, 2_000])
async def test_nothing_is_kept_for_a_lone_reader(
    store: CountingStore, log: EventLog, monkeypatch: pytest.MonkeyPatch, recent: int
) -> None:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", recent)
    first, second = EventReader(log, -1, NEVER), EventReader(log, -1, NEVER)
    await write(store, log, PAGE + 1)
    await read(second)
    assert pages_in_memory()
    await second.close()
    assert await read(first) == list(range(PAGE + 1))
    assert not pages_in_memory()


async def test_recent_events_are_shared_too(
    store: CountingStore, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "RECENT_EVENTS", 2_000)
    readers = [EventReader(log, -1, NEVER) for _ in range(2)]
    await write(store, log, 5)
    one, other = [await reader.next_page(0.01) for reader in readers]
    assert one is other
    assert (len(one or ()), store.reads) == (5, 0)


def test_each_form_of_a_page_is_made_once() -> None:
    page = EventPage([StoredEvent(0, False, "{}", None)])
    made: list[EventPage] = []

    def make(page: EventPage) -> Pieces:
        made.append(page)
        return [(b"form %d" % len(made), 0)]

    forms = [page.form(options, make)[0][0] for options in ("a", "b", "a")]
    assert (forms, made) == ([b"form 1", b"form 2", b"form 1"], [page, page])
    assert page.size == len("{}") + 2 * len(b"form 1")


async def test_what_was_made_of_pages_counts_as_kept(store: CountingStore, log: EventLog) -> None:
    reader, _ = EventReader(log, -1, NEVER), EventReader(log, -1, NEVER)
    await write(store, log, 20, event_pages.PAGE_CHARACTERS)
    while page := await reader.next_page(0.01):
        for options in range(3):
            page.form(options, lambda page: [(b"x" * page.characters, 0)])
        del page
    kept = pages_in_memory()
    assert sum(one.size for one in kept) <= event_pages.KEPT_SIZE + 3 * event_pages.PAGE_CHARACTERS
    assert kept


async def test_readers_that_have_all_passed_a_page_hold_none(store: CountingStore, log: EventLog) -> None:
    await write(store, log, PAGE)
    readers = [EventReader(log, -1, NEVER) for _ in range(3)]
    for reader in readers:
        assert await reader.next_page(1)
    assert pages_in_memory()
    waiting = [asyncio.create_task(reader.next_page(20), name="reader") for reader in readers]
    for _ in range(3):
        await asyncio.sleep(0)
    assert not pages_in_memory()
    await write(store, log, 1)
    assert [len(page or ()) for page in await asyncio.gather(*waiting)] == [1, 1, 1]


async def test_a_page_that_comes_when_its_readers_have_left_is_not_kept(store: CountingStore, log: EventLog) -> None:
    await write(store, log, PAGE)
    readers = [EventReader(log, -1, NEVER) for _ in range(2)]
    store.may_read.clear()
    reading = [asyncio.create_task(reader.next_page(20), name="reader") for reader in readers]
    await store.began.wait()
    for task, reader in zip(reading, readers, strict=True):
        task.cancel()
        await asyncio.wait([task])
        await reader.close()
    # Their exceptions hold what they waited for.
    del reading, task
    store.may_read.set()
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert not pages_in_memory()


async def test_a_reader_of_a_deleted_handler_gets_nothing_of_another(store: CountingStore, log: EventLog) -> None:
    """A handler of the same id may be in the store by then."""
    await write(store, log, 3 * PAGE)
    for readers in (1, 2):
        behind = [EventReader(log, -1, NEVER) for _ in range(readers)]
        assert await behind[0].next_page(0.01)
        if readers == 2:
            log.delete()
            for reader in behind:
                with pytest.raises(HandlerNotFound):
                    await reader.next_page(0.01)
        for reader in behind:
            await reader.close()
