"""The files beside a database: each is this server's own, reached under one name only, and never through a link."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from workflow_server.store.sqlite.exceptions import FileBesideLinked

logger = logging.getLogger(__name__)

PRIVATE = 0o600
"""The mode of a database and of all that stands beside it: it holds what clients sent, secrets among it."""

ENDS = (".lock", "-reserve", "-wal", "-shm", "-journal", "-wal.left")
"""Ends of the names of the files beside a database."""

_IS_LINK = frozenset((errno.ELOOP, errno.EMLINK))
"""Errors of ``open`` where ``O_NOFOLLOW`` meets a link: the first on Linux and macOS, the second on FreeBSD."""


def beside(path: Path, end: str) -> Path:
    """The file beside the database at ``path`` whose name has this end."""
    return path.with_name(path.name + end)


def open_beside(file: Path, flags: int) -> int:
    """Open a file beside a database to write to it; with ``O_CREAT`` it is made so that only its owner may read it.

    Raises:
        FileBesideLinked: it is a link, or has a second name: what is written to it would change a file elsewhere.
        OSError: it cannot be opened.
    """
    try:
        # A pipe in its place would let an open wait for its other end.
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(file, flags, PRIVATE)
    except OSError as error:
        if error.errno in _IS_LINK:
            raise FileBesideLinked(file=str(file), found="a symbolic link") from error
        raise
    try:
        _check(file, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_beside(path: Path) -> None:
    """Look at what stands beside the database at ``path``, and open nothing.

    Raises:
        FileBesideLinked: see ``open_beside``.
    """
    for end in ENDS:
        file = beside(path, end)
        try:
            found = file.lstat()
        except FileNotFoundError:
            continue
        _check(file, found)


def _check(file: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise FileBesideLinked(file=str(file), found="a symbolic link")
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise FileBesideLinked(file=str(file), found=f"one of {found.st_nlink} hard links to the same file")
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise FileBesideLinked(file=str(file), found="not a regular file")


def narrow_modes(path: Path) -> None:
    """Let nobody but their owner read the database at ``path`` and the files beside it, and say where others could."""
    for file in (path, *(beside(path, end) for end in ENDS)):
        try:
            found = file.lstat()
            wide = stat.S_IMODE(found.st_mode)
            if not stat.S_ISREG(found.st_mode) or not wide & ~PRIVATE:
                continue
            file.chmod(wide & PRIVATE)
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning(
                "others may read or write %s (mode %03o), and that cannot be changed (%s): it holds all that clients "
                "sent. Let its owner run 'chmod 600'.",
                file,
                wide,
                error.strerror,
            )
        else:
            logger.warning("others could read or write %s (mode %03o): now only its owner may", file, wide)
