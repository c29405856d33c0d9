"""The server's lock: one server a database, by a lock on a sidecar file that the kernel drops with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from workflow_server.forking import WithheldFiles
from workflow_server.store.sqlite.exceptions import DatabaseLocked
from workflow_server.store.sqlite.sidecar import open_sidecar, sidecar


class ServerLock:
    """An exclusive lock for the database at ``path``.

    The lock file names its holder's process, and is not removed with the lock: that could let two servers in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._withheld = WithheldFiles()

    @property
    def file(self) -> Path:
        return sidecar(self._path, ".lock")

    def acquire(self) -> None:
        """Take the lock; never waits.

        Raises:
            DatabaseLocked: another server holds it.
        """
        # A file of its own, because closing any descriptor of the database would drop SQLite's own locks on it.
        descriptor = open_sidecar(self.file, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _signed(descriptor)
            os.close(descriptor)
            raise DatabaseLocked(path=str(self._path), holder=f"process {holder or 'unknown'}") from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        # The lock lasts as long as any process has the file open, a forked child included.
        self._withheld.add(descriptor)

    def sign(self) -> None:
        """Write the process id of the holder into the file."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; may be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._withheld.give_up()


def _signed(descriptor: int) -> int | None:
    """Return the process that has signed the file; None if that is gone: its successor has the lock and has not signed
    yet."""
    try:
        holder = int(os.pread(descriptor, 32, 0))
        if holder > 0:
            os.kill(holder, 0)
    except PermissionError:
        # It is another user's.
        return holder
    except (ValueError, OverflowError, ProcessLookupError):
        return None
    return holder if holder > 0 else None
