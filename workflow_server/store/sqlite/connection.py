"""The connections of the store, and the one way to run a function on a connection's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar

import aiosqlite

from workflow_server.concurrency import run_to_completion

T = TypeVar("T")

BUSY_TIMEOUT = 5_000
"""Milliseconds for which SQLite itself waits for a lock that another process holds."""

JOURNAL_SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes that the WAL keeps when it starts anew: SQLite's usual 1,000 pages of 4 KiB."""

DAMAGED = "\ufffd"
"""Beginning of a text that is not UTF-8: no reader of JSON takes such a text for a whole value."""


def text(data: bytes) -> str:
    """A column's text. One that is damaged is read too, so that it cannot hide the rows beside it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return DAMAGED + data.decode(errors="replace")


Access = Literal["mode=rw", "mode=ro", "immutable=1"]
"""Modes of opening a file: one that is ``immutable`` is only read, and must have no log."""


async def connect(path: Path | None, access: Access = "mode=rw") -> aiosqlite.Connection:
    """A connection to an existing file, or to a database in memory; transactions are begun by statements only."""
    target = ":memory:" if path is None else f"{path.as_uri()}?{access}"
    connection = aiosqlite.connect(target, uri=path is not None, isolation_level=None, cached_statements=256)
    # aiosqlite's threads keep a process alive; one that fails must end, with whatever commit its thread hangs in.
    connection._thread.daemon = True
    try:
        # When its caller is cancelled, aiosqlite drops what its thread has opened, and does not close it.
        await run_to_completion(_opened(connection), "connect")
        await run_on(connection, _set_up)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _opened(connection: aiosqlite.Connection) -> None:
    await connection


def _set_up(connection: sqlite3.Connection) -> None:
    connection.text_factory = text
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT:d}")
    # Nothing that stands in the file may call what reaches beyond it: https://www.sqlite.org/security.html
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


async def run_on(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``function`` on the connection's thread, in one hop and never between another one's statements."""
    # aiosqlite's public methods are one hop each: a transaction of them takes four times as long as one function,
    # and a cancelled caller would leave it open in the middle. Its own methods are built on _execute.
    execute: Callable[..., Awaitable[T]] = connection._execute
    return await execute(function, connection._conn)
