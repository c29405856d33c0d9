"""Connections to SQLite, and functions run on a connection's thread."""

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
"""Prefix of a text that was not UTF-8: no JSON parser takes such a text for a whole value."""


def text(data: bytes) -> str:
    """Return a column's text. Damaged text is read, too, so that it cannot hide the rows beside it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return DAMAGED + data.decode(errors="replace")


def _unchanged(value: None) -> None:
    return value


# sqlite3 looks for an adapter of None at each NULL that it binds, which takes longer than all else of it: by way of an
# error, unless there is one. It changes nothing for others in this process.
sqlite3.register_adapter(type(None), _unchanged)


Access = Literal["mode=rw", "mode=ro", "immutable=1"]
"""Modes of opening a file; ``immutable`` is for a file without a log that is only read."""


ConnectionFactory = Callable[..., sqlite3.Connection]
"""The ``factory`` of ``sqlite3.connect``: a subclass of ``sqlite3.Connection``, or a function with its parameters."""


async def connect(
    path: Path | None, access: Access = "mode=rw", *, factory: ConnectionFactory = sqlite3.Connection
) -> aiosqlite.Connection:
    """Connect to an existing file, or to a database in memory; transactions are begun by statements only."""
    target = ":memory:" if path is None else f"{path.as_uri()}?{access}"
    connection = aiosqlite.connect(
        target, uri=path is not None, isolation_level=None, cached_statements=256, factory=factory
    )
    # aiosqlite's threads keep a process alive: one that fails must be able to end though a commit hangs in a thread.
    connection._thread.daemon = True
    try:
        # When its caller is cancelled, aiosqlite drops what its thread has opened, and does not close it.
        await run_to_completion(_opened(connection), "connect")
        await run_on(connection, set_up)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _opened(connection: aiosqlite.Connection) -> None:
    await connection


def set_up(connection: sqlite3.Connection) -> None:
    """Set what every connection needs, one that only reads included."""
    connection.text_factory = text
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT:d}")
    # Nothing stored in the file may call functions that reach beyond it: https://www.sqlite.org/security.html
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


async def run_on(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``function`` on the connection's thread: one hop, and never between the statements of another function."""
    # aiosqlite's public methods are one hop each: a transaction of them takes four times as long as one function,
    # and a cancelled caller would leave it open in the middle. Its own methods are built on _execute.
    execute: Callable[..., Awaitable[T]] = connection._execute
    return await execute(function, connection._conn)
