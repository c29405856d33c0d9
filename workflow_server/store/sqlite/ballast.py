"""Room on the disk that is kept for what must be stored though the disk is full."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from workflow_server.store.sqlite.beside import beside, open_beside
from workflow_server.store.sqlite.exceptions import FileBesideLinked

logger = logging.getLogger(__name__)

SIZE = 4 << 20
"""Bytes: about 100 cancellations, each of which writes some ten pages of 4 KiB to the log."""
LEAST = 64 << 10
"""Bytes of the smallest piece by which the reserve grows, so that it takes as much of the room as there is."""


class Reserve:
    """A file beside the database at ``path`` that takes up room and holds nothing; a database in memory has none.

    It is given back for as long as one transaction takes. Where another program takes that room meanwhile, the
    transaction fails for want of room as it would have without the reserve.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else beside(path, "-reserve")
        self._held = 0

    def fill(self) -> None:
        """Take up as much of the reserve as there is room for."""
        if self._file is None or self._held >= SIZE:
            return
        try:
            descriptor = open_beside(self._file, os.O_RDWR | os.O_CREAT)
        except (OSError, FileBesideLinked) as error:
            logger.warning("no room is kept for cancellations on a full disk: %s", _reason(error))
            return
        try:
            self._allocate(descriptor)
        finally:
            os.close(descriptor)

    def _allocate(self, descriptor: int) -> None:
        size = SIZE - self._held
        while self._held < SIZE and size >= LEAST:
            try:
                _take_up(descriptor, self._held, size)
            except OSError as error:
                logger.debug("no %d KiB more are kept for cancellations: %s", size >> 10, error.strerror)
                size //= 2
            else:
                self._held += size

    def give(self) -> None:
        """Give the room back to the disk."""
        if self._file is None or not self._held:
            return
        try:
            descriptor = open_beside(self._file, os.O_RDWR)
            try:
                os.ftruncate(descriptor, 0)
                self._held = 0
                # Journaling file systems give blocks back when they commit.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, FileBesideLinked) as error:
            logger.warning("the room that was kept on the disk is not given back: %s", _reason(error))

    def remove(self) -> None:
        """Leave nothing behind."""
        if self._file is None:
            return
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            # The file system has become one that is only read, say. What closes has more to give back.
            logger.warning("%s is left behind: %s", self._file, error.strerror)
        self._held = 0


def _take_up(descriptor: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, size)
        return
    # macOS does not have it: what is written takes up room everywhere.
    end = offset + size
    while offset < end:
        offset += os.pwrite(descriptor, bytes(min(LEAST, end - offset)), offset)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
