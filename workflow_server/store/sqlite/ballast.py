"""The ballast: a file that takes up room on the disk, to be given back when cancellations meet a full disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from workflow_server.store.sqlite.exceptions import FileBesideLinked
from workflow_server.store.sqlite.sidecar import open_sidecar, sidecar

logger = logging.getLogger(__name__)

SIZE = 4 << 20
"""Bytes: about 100 cancellations, each of which writes some ten pages of 4 KiB to the log."""
LEAST = 64 << 10
"""Bytes of the smallest piece by which the ballast grows, so that it takes up as much of the room as there is."""


class Ballast:
    """A file beside the database at ``path`` that takes up room and holds nothing; a database in memory has none.

    The room is given back for as long as one transaction takes. Where another program takes it meanwhile, the
    transaction fails as it would have without ballast.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else sidecar(path, "-reserve")
        self._held = 0

    def fill(self) -> None:
        """Let the file grow to its full size, or as far as there is room."""
        if self._file is None or self._held >= SIZE:
            return
        try:
            descriptor = open_sidecar(self._file, os.O_RDWR | os.O_CREAT)
        except (OSError, FileBesideLinked) as error:
            logger.warning("cannot keep room for cancellations on a full disk: %s", _reason(error))
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
                logger.debug("cannot keep %d KiB more for cancellations: %s", size >> 10, error.strerror)
                size //= 2
            else:
                self._held += size

    def give(self) -> None:
        """Give the room back to the disk."""
        if self._file is None or not self._held:
            return
        try:
            descriptor = open_sidecar(self._file, os.O_RDWR)
            try:
                os.ftruncate(descriptor, 0)
                self._held = 0
                # Journaling file systems give blocks back when they commit.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except (OSError, FileBesideLinked) as error:
            logger.warning("cannot give back the room that was kept for cancellations: %s", _reason(error))

    def remove(self) -> None:
        """Remove the file."""
        if self._file is None:
            return
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            # The file system has become read-only, say. A close goes on: it has more to give back.
            logger.warning("%s could not be removed: %s", self._file, error.strerror)
        self._held = 0


def _take_up(descriptor: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, size)
        return
    # macOS has no posix_fallocate; writing takes up room everywhere.
    end = offset + size
    while offset < end:
        offset += os.pwrite(descriptor, bytes(min(LEAST, end - offset)), offset)


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
