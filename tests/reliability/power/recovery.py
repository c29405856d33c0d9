"""Opening what a power cut left with the server's own recovery, and looking at what it made of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

from tests.reliability.power.clients import answer_body, answer_key
from tests.reliability.power.contents import Contents, read_contents
from tests.reliability.power.disk import Image
from tests.reliability.power.history import Expectation, Lost, Session, Wrong
from tests.reliability.power.session import DATABASE, made_server
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.protocol.strict_json import canonical_json
from workflow_server.records import ServerAlive, StoredEvent
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store import SqliteWorkflowStore


class Recovered(NamedTuple):
    """The answers of the store after it was opened."""

    contents: Contents
    problems: list[str]
    stopped_cleanly: bool


def place(folder: Path, image: Image) -> Path:
    """Put the files there, alone; returns the path of the database."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in image.items():
        (folder / name).write_bytes(content)
    return folder / DATABASE


def _look(connection: sqlite3.Connection) -> tuple[Contents, list[str]]:
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
    problems += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    return read_contents(connection), problems


async def look(store: SqliteWorkflowStore) -> Recovered:
    """Return the contents of an open store."""
    contents, problems = await store._read(_look)
    return Recovered(contents, problems, store.stopped_cleanly)


class Judge:
    """Opens the states of one session and holds each against what had been acknowledged."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._folder = folder
        # That a state was not closed cleanly is no news here.
        logging.disable(logging.CRITICAL)

    async def recover(self, point: int, image: Image) -> int:
        """Open it, and go on writing; returns how many transactions are there.

        Raises:
            Lost, Wrong: it is not what was acknowledged, or it is damaged.
            DatabaseError, StorageError: it is refused, or cannot be used.
        """
        store = SqliteWorkflowStore(place(self._folder, image))
        await store.open()
        try:
            index = self._agree(point, await look(store))
            await store.append(ServerAlive(1.0))
        finally:
            await store.close()
        return index

    def _agree(self, point: int, recovered: Recovered) -> int:
        if recovered.problems:
            raise Wrong(f"it is damaged: {recovered.problems}")
        return self._session.agree(point, recovered.contents, stopped_cleanly=recovered.stopped_cleanly)

    # -- Going on ------------------------------------------------------------------------------

    async def resume(self, point: int, image: Image) -> int:
        """Start the server on it, let every run come to its end; returns how many runs went on.

        Raises:
            Lost, Wrong: one did not end as it must.
            TimeoutError: one did not end.
        """
        store = SqliteWorkflowStore(place(self._folder, image))
        server = made_server(store)
        await server.start()
        try:
            manager = server._manager
            handlers = {handler.handler_id: handler for handler in await manager.list_handlers(None, None)}
            expected = self._session.expected(point)
            if lost := expected.keys() - handlers.keys():
                raise Lost(f"runs that were acknowledged are not there: {lost}")
            running = [handler for handler in handlers.values() if handler.status == "running"]
            logs = await asyncio.gather(*(follow(manager, handler.handler_id) for handler in running))
            for handler, log in zip(running, logs, strict=True):
                agree_on_log(handler.workflow_name, log)
            for handler_id, expectation in expected.items():
                await agree_on_end(manager, handler_id, expectation)
            return len(running)
        finally:
            await server.stop()


async def follow(manager: RuntimeManager, handler_id: str) -> list[StoredEvent]:
    """Read the run's stream to its end, and answer its question."""
    log: list[StoredEvent] = []
    async with asyncio.timeout(30):
        reader = await manager.open_cursor(handler_id, -1)
        while reader is not None and (page := await reader.next_page(30)):
            log += page
            for event in page:
                envelope = json.loads(event.data)
                if envelope["type"] == "Question":
                    await answer(manager, handler_id, envelope["value"]["number"])
    return log


async def answer(manager: RuntimeManager, handler_id: str, number: int) -> None:
    """Answer as the client did or would have: an answer that was taken before is not taken again."""
    body = answer_body(number)
    key = IdempotencyKey(answer_key(number), hashlib.sha256(canonical_json(body)).hexdigest())
    await manager.send(handler_id, body["event"], None, key)


def agree_on_log(workflow: str, log: list[StoredEvent]) -> None:
    """The log has no gap, an end, and no step that began again after the next one had begun.

    Raises:
        Wrong: it is otherwise.
    """
    if [event.sequence for event in log] != list(range(log[0].sequence, log[0].sequence + len(log))):
        raise Wrong(f"a log with a gap: {[event.sequence for event in log]}")
    envelopes = [json.loads(event.data) for event in log]
    places = [envelope["value"]["place"] for envelope in envelopes if envelope["type"] == "Began"]
    if workflow == "chain" and places != sorted(places):
        raise Wrong(f"steps whose results were recorded began again: {places}")


async def agree_on_end(manager: RuntimeManager, handler_id: str, expectation: Expectation) -> None:
    """The handler ended as its client may expect.

    Raises:
        Wrong: it did not.
    """
    handler = await manager.get_handler(handler_id)
    result = None if handler.result is None else handler.result.value.get("result")
    ended = (handler.run_id, handler.status, result if handler.status == "completed" else None)
    if handler.status == "running" or (
        not expectation.ending and ended != (expectation.run_id, expectation.status, expectation.result)
    ):
        raise Wrong(f"{handler_id} ended as {ended} instead of {expectation}")
