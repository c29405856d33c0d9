"""One server a database: a lock on a file beside it, which the kernel drops when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from workflow_server.forking import WithheldFiles
from workflow_server.store.sqlite.beside import beside, open_beside
from workflow_server.store.sqlite.exceptions import DatabaseLocked


class ServerLock:
    """An exclusive lock for the database at ``path``. The lock file holds the holder's process id and stays when the
    lock goes: removing it could let two servers in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._withheld = WithheldFiles()

    @property
    def file(self) -> Path:
        return beside(self._path, ".lock")

    def acquire(self) -> None:
        """Take the lock or raise DatabaseLocked; never waits."""
        # A file of its own, because closing any descriptor of the database would drop SQLite's own locks on it.
        descriptor = open_beside(self.file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DatabaseLocked(
                path=str(self._path), holder=f"process {holder}" if holder else "process unknown"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # It is held for as long as any process has it open.
        self._withheld.add(descriptor)

    def sign(self) -> None:
        """Write who holds the lock."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._withheld.give_up()
