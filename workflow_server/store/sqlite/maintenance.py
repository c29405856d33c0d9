"""Work on a whole database: its check, and what no server may run beside, a vacuum and a purge."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from workflow_server.records import HandlerCount, Status
from workflow_server.store.backend import FailureKind, TransactionError
from workflow_server.store.internal_records import Entry, PurgeMarked
from workflow_server.store.sqlite import reads
from workflow_server.store.sqlite.backup import Progress
from workflow_server.store.sqlite.checkpoint import Checkpointer
from workflow_server.store.sqlite.connection import set_up
from workflow_server.store.sqlite.exceptions import (
    DatabaseDamaged,
    DatabaseOlder,
    LogDamaged,
    WorkUnfinished,
)
from workflow_server.store.sqlite.inspection import (
    MAINTENANCE,
    Content,
    check_readable,
    explained,
    migrated_to,
    opened_to_read,
    verify,
)
from workflow_server.store.sqlite.integrity import check_files
from workflow_server.store.sqlite.migrations import known_migrations
from workflow_server.store.sqlite.open import fold_in_log, lock_database, set_durability
from workflow_server.store.sqlite.sidecar import sidecar
from workflow_server.store.sqlite.space import give_space_back, is_worth_it, make_incremental
from workflow_server.store.sqlite.transaction import commit_units, describe, is_full

FRAME_HEADER = 24
"""Bytes of the log for each page besides the page: https://www.sqlite.org/fileformat2.html#walformat"""

PAGES_OF_MAP = 0.002
"""More than the part of a file that notes where each page belongs: five bytes a page, so that space can be given back.
https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages"""

PAGES_GIVEN_BACK = 4_096
"""Free pages that a purge gives back in one transaction: 16 MiB of the log."""

MARKED = 200
"""Handlers that a purge hides in one transaction, before it deletes their rows."""


class Selection(NamedTuple):
    """The handlers of these statuses and workflows (None: of all) that ended, or are running since, before a time."""

    statuses: Sequence[Status]
    workflows: Sequence[str] | None
    before: float

    def parameters(self) -> dict[str, object]:
        """Return the parameters of its statements."""
        return {
            "statuses": json.dumps(self.statuses),
            "workflows": None if self.workflows is None else json.dumps(self.workflows),
            "before": self.before,
        }


# -- Beside a server -------------------------------------------------------------------------------


def check(path: Path, *, allow_network_filesystem: bool = False) -> Content:
    """Check the database at ``path``, which a server may have open, as a start does, and its foreign keys.

    Raises:
        DatabaseError: what is wrong with it, or why it cannot be read.
    """
    content, page_size = _checked(path, allow_network_filesystem=allow_network_filesystem)
    with explained(path):
        try:
            check_files(path, page_size)
        except (LogDamaged, DatabaseDamaged):
            # The files of a server change while they are read, and do not have to be whole before its next start. One
            # that has just stopped leaves them at rest.
            if not is_served(path):
                check_files(path, page_size)
    return content


def _checked(path: Path, *, allow_network_filesystem: bool) -> tuple[Content, int]:
    """Check all that SQLite reads; return the content and the bytes of a page."""
    with opened_to_read(path, may_be_served=False, allow_network_filesystem=allow_network_filesystem) as connection:
        connection.execute("BEGIN")
        content = verify(connection, path)
        page_size: int = connection.execute(MAINTENANCE["space"]).fetchone()[0]
    return content, page_size


def is_served(path: Path) -> bool:
    """Return whether a server holds the database at ``path``.

    The lock is tried for a moment, in which a server could not start: ask only where the answer matters.
    """
    try:
        descriptor = os.open(sidecar(path, ".lock"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def count_selected(path: Path, selection: Selection, *, allow_network_filesystem: bool = False) -> list[HandlerCount]:
    """Return the numbers of handlers that a purge would delete; a server may have the database open.

    Raises:
        DatabaseError: it cannot be read.
    """
    with opened_to_read(path, may_be_served=False, allow_network_filesystem=allow_network_filesystem) as connection:
        migrated_to(connection, path)
        return _counts(connection, selection)


# -- Without a server ------------------------------------------------------------------------------


def vacuum(path: Path, *, allow_network_filesystem: bool = False) -> tuple[int, int]:
    """Write the database anew without what it no longer needs; return its bytes before and after.

    From then on, it gives space back while a server runs.

    SQLite writes it into a temporary file and from there into the log: a crash leaves the old or the new one.

    Raises:
        DatabaseError: a server holds it, or it is not sound; it was left as it is.
        WorkUnfinished: there is no room, or another program reads it.
    """
    with _held(path, allow_network_filesystem=allow_network_filesystem) as connection, _unfinished(path):
        before = path.stat().st_size
        page_size, pages, free = connection.execute(MAINTENANCE["space"]).fetchone()
        disk = os.statvfs(path.parent)
        room, needed = (
            disk.f_bavail * disk.f_frsize,
            (page_size + FRAME_HEADER) * round((pages - free) * (1 + PAGES_OF_MAP)),
        )
        if needed > room:
            reason = f"its disk has room for {room:,} bytes, and a vacuum needs {needed:,}"
            raise WorkUnfinished(path=str(path), reason=reason)
        make_incremental(connection)
        try:
            connection.execute("VACUUM")
        finally:
            # Also where it failed: the log may have taken up all the room.
            is_folded = not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not is_folded:
            raise WorkUnfinished(path=str(path), reason="another program reads it: the next start makes it smaller")
        return before, path.stat().st_size


def purge(
    path: Path, selection: Selection, *, progress: Progress, allow_network_filesystem: bool = False
) -> list[HandlerCount]:
    """Delete the handlers of ``selection`` with all that belongs to them, and what an earlier deletion left.

    As a server does: they are hidden first and deleted in slices, each in a transaction of its own. Those that were
    hidden when a purge was ended are deleted by the next start or purge.

    Raises:
        DatabaseError: a server holds it, or it is not sound or of an older version; it was left as it is.
        WorkUnfinished: the disk is full; some may be deleted.
    """
    with _held(path, allow_network_filesystem=allow_network_filesystem) as connection, _unfinished(path):
        schema, known = migrated_to(connection, path), len(known_migrations(str(path)))
        if schema < known:
            raise DatabaseOlder(path=str(path), found=schema, known=known)
        counts = _counts(connection, selection)
        ids = [row[0] for row in connection.execute(MAINTENANCE["selected"], selection.parameters())]
        _delete_marked(connection, path)
        for start in range(0, len(ids), MARKED):
            progress(start, len(ids))
            commit_units(connection, [(PurgeMarked(json.dumps(ids[start : start + MARKED])),)])
            _delete_marked(connection, path)
        _give_back(connection, path)
        return counts


def _give_back(connection: sqlite3.Connection, path: Path) -> None:
    checkpointer = Checkpointer(path)
    while is_worth_it(connection):
        give_space_back(connection, PAGES_GIVEN_BACK)
        checkpointer.run(connection)


def _delete_marked(connection: sqlite3.Connection, path: Path) -> None:
    checkpointer = Checkpointer(path)
    while (part := reads.next_purge(connection)) is not None:
        entry: Entry = part
        commit_units(connection, [(entry,)])
        checkpointer.count_commit()
        if checkpointer.is_due():
            checkpointer.run(connection)


def _counts(connection: sqlite3.Connection, selection: Selection) -> list[HandlerCount]:
    rows = connection.execute(MAINTENANCE["selected_counts"], selection.parameters())
    return [HandlerCount(*row) for row in rows]


@contextmanager
def _held(path: Path, *, allow_network_filesystem: bool) -> Iterator[sqlite3.Connection]:
    """Hold the database at ``path`` as a server does, and connect to it for the block; it is checked before.

    Its note of a clean stop stays as it is: a start counts a crash of the server before against the runs in it.
    """
    with explained(path):
        check_readable(path, allow_network_filesystem=allow_network_filesystem)
        lock = lock_database(path, allow_network_filesystem=allow_network_filesystem)
        try:
            _, page_size = _checked(path, allow_network_filesystem=allow_network_filesystem)
            check_files(path, page_size)
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
                set_up(connection)
                set_durability(connection, str(path), wal=True)
                fold_in_log(connection, path)
                yield connection
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            lock.release()


@contextmanager
def _unfinished(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, TransactionError) as error:
        full = error.kind is FailureKind.FULL if isinstance(error, TransactionError) else is_full(error)
        reason = error.reason if isinstance(error, TransactionError) else describe(error)
        if full:
            reason = "the disk is full, or that of temporary files is; the database is whole"
        raise WorkUnfinished(path=str(path), reason=reason) from error
