"""A database as a server leaves it, with something of everything in it, and how it differs once it was damaged."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from workflows import Context, Workflow, step
from workflows.context import JsonSerializer
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.tables import OWNERS
from tests.store.fault_injection import HookedStore, on_write_connection
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.records import InboxPosted, StoredEvent
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore

COMPLETED, WAITING, ANSWERED = 20, 8, 2
LOG = "-wal"

Rows = dict[tuple[str, str], list[tuple[object, ...]] | None]
"""The rows of each table under each handler's or run's id, in order; None where they cannot be read."""


class Note(Event):
    """One of several events of a run."""

    text: str


class Asks(Workflow):
    """Publishes, writes to its state, asks, and ends with its number, its state and the answer."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        number = ev.get("number", 0)
        for part in range(6):
            # One of the texts is longer than a page, so that it lies in pages of its own.
            ctx.write_event_to_stream(Note(text=f"{number}.{part} " * (900 if part == number % 9 else 9)))
        await ctx.store.set("numbers", [number] * 30)
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result=[*await ctx.store.get("numbers"), answer.get("text")])


class Kept(NamedTuple):
    """A handler as it was before its file was damaged."""

    handler: HandlerData
    log: list[StoredEvent]
    number: int


class Specimen(NamedTuple):
    """Two copies of one database: ``clean`` after a stop, ``unclean`` after a kill, with its log beside it.

    ``states`` are those that the commits in the log led to, one after the other.
    """

    clean: Path
    unclean: Path
    kept: dict[str, Kept]
    states: list[Rows]

    @property
    def runs(self) -> list[tuple[str, str]]:
        """Each handler's id with that of its run."""
        return [(kept.handler.handler_id, kept.handler.run_id or "") for kept in self.kept.values()]

    def rows(self, path: Path) -> Rows:
        """Return the rows of a copy, or of the specimen itself."""
        return rows(path, self.runs)

    def copy(self, folder: Path, *, clean: bool) -> Path:
        """A copy to damage."""
        path = folder / "runs.sqlite3"
        source = self.clean if clean else self.unclean
        shutil.copyfile(source, path)
        if not clean:
            shutil.copyfile(f"{source}{LOG}", f"{path}{LOG}")
        return path


async def make_specimen(folder: Path) -> Specimen:
    """Run workflows over a database, and copy it before and after its server stops."""
    live, unclean = folder / "live.sqlite3", folder / "unclean.sqlite3"
    store = HookedStore(live)
    async with asyncio.timeout(60):
        manager = await serve(store)
        handlers = [await _start(manager, number) for number in range(COMPLETED + WAITING + ANSWERED)]
        for handler in handlers[COMPLETED:]:
            await asked(manager, handler.handler_id)
        for handler in handlers[: COMPLETED // 2]:
            await answer(manager, handler.handler_id)
        await store.flush()
        await on_write_connection(store, lambda sqlite: sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        runs = [(handler.handler_id, handler.run_id or "") for handler in handlers]
        states = [rows(live, runs)]
        store.hook = lambda moment, _: states.append(rows(live, runs)) if moment == "after commit" else None
        for handler in handlers[COMPLETED // 2 : COMPLETED]:
            await answer(manager, handler.handler_id)
        await manager.stop(1.0)
        for place, handler in enumerate(handlers[COMPLETED + WAITING :]):
            assert handler.run_id is not None
            posted = JsonSerializer().serialize(HumanResponseEvent(text="yes"))
            await store.commit(InboxPosted(1_000 + place, handler.handler_id, handler.run_id, posted, None))
        kept = {}
        for number, handler in enumerate(handlers):
            shown = await manager.get_handler(handler.handler_id)
            kept[handler.handler_id] = Kept(shown, await store.read_events(handler.handler_id, -1, 1_000), number)
        store.hook = None
        for suffix in ("", LOG):
            shutil.copyfile(f"{live}{suffix}", f"{unclean}{suffix}")
        await store.close()
    return Specimen(live, unclean, kept, states)


async def serve(store: SqliteWorkflowStore) -> RuntimeManager:
    """A manager that has taken up what the store holds."""
    manager = RuntimeManager(store, idle_timeout=None)
    manager.add_workflow("asks", Asks(timeout=None))
    manager.listen()
    await store.open()
    await manager.resume()
    return manager


async def answer(manager: RuntimeManager, handler_id: str) -> HandlerData:
    """Answer the run's question, and return the handler when the run has ended."""
    await manager.send(handler_id, {"type": "HumanResponseEvent", "value": {"text": "yes"}}, None, None)
    await read(manager, handler_id)
    return await manager.get_handler(handler_id)


async def read(manager: RuntimeManager, handler_id: str) -> list[StoredEvent]:
    """The events of the handler up to the end of its run."""
    reader = await manager.open_cursor(handler_id, -1)
    events: list[StoredEvent] = []
    while reader is not None and (page := await reader.next_page(20)):
        events += page
    return events


def rows(path: Path, handlers: Iterable[tuple[str, str]]) -> Rows:
    """Return the rows of these handlers and their runs, found as the server finds them: by key."""
    found: Rows = {}
    if not path.exists():
        return found
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        for handler_id, run_id in handlers:
            for table, column in OWNERS.items():
                key = handler_id if column == "handler_id" else run_id
                try:
                    past = " AND sequence > -1 ORDER BY sequence" if table == "all_events" else ""
                    query = f"SELECT * FROM {table} WHERE {column} = ?{past}"
                    found[table, handler_id] = connection.execute(query, (key,)).fetchall()
                except (sqlite3.Error, UnicodeDecodeError):
                    # SQLite's own message may hold what it could not read.
                    found[table, handler_id] = None
    return found


def hurt_handlers(original: Rows, found: Rows) -> set[str]:
    """The handlers of which a row was changed, lost or added, or cannot be read."""
    return {
        handler_id for table, handler_id in original if original[table, handler_id] != found.get((table, handler_id))
    }


async def _start(manager: RuntimeManager, number: int) -> HandlerData:
    key = IdempotencyKey(f"key {number}", "body")
    return await manager.start("asks", RunRequest(start_event={"number": number}, key=key))


async def asked(manager: RuntimeManager, handler_id: str) -> None:
    reader = await manager.open_cursor(handler_id, -1)
    assert reader is not None
    while page := await reader.next_page(20):
        if any("InputRequiredEvent" in event.data for event in page):
            return
