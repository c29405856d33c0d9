"""Free space: pages that hold nothing any more are given back to the file system, a few at a time.

Only a file that was made for it can do that (``auto_vacuum = INCREMENTAL``): it notes of each page where it belongs.
"""

from __future__ import annotations

import asyncio
import sqlite3
from time import monotonic

from workflow_server.store.group_commit import GroupCommit
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.readers import ReaderPool

PAGES_AT_ONCE = 64
"""Pages that one transaction gives back: 256 KiB, which takes 1 ms, as long as a commit."""
KEPT = 1_024
"""Free pages that a server leaves, 4 MiB: what its next runs write would make the file grow again."""
PAUSE = 0.005
"""Seconds between two such transactions."""
REST = 4.0
"""The time between them where others wrote meanwhile, in multiples of that and of the time that one took."""


def make_incremental(connection: sqlite3.Connection) -> None:
    """Let the file give space back: one that is empty from its first page on, any other from its next VACUUM on.

    The first page of an empty file is written: in a transaction of its own, unless one has begun (``DEFERRED``: where a
    page is there already, the mode stays).
    """
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def give_space_back(connection: sqlite3.Connection, pages: int) -> None:
    """Make the file smaller by up to so many of its free pages."""
    # SQLite gives back one page a step, as a row without columns; "execute" takes one step, and "fetchall" none more.
    connection.executescript(f"PRAGMA incremental_vacuum({pages:d})")


async def give_back(writer: GroupCommit, readers: ReaderPool) -> bool:
    """Give back the free pages but for a few, beside all else that is written; return whether there were any. The file
    becomes smaller with the next checkpoint."""
    gave = False
    while await readers.read(is_worth_it):
        begun, before = monotonic(), writer.committed.units
        if not await writer.give_space_back():
            break
        gave = True
        await asyncio.sleep(PAUSE)
        if writer.committed.units > before:
            await asyncio.sleep(REST * (monotonic() - begun))
    return gave


def is_worth_it(connection: sqlite3.Connection) -> bool:
    """Return whether there is space to give back, and whether the file can give it back."""
    mode, free = reads.space(connection)
    return mode == reads.INCREMENTAL and free > KEPT
