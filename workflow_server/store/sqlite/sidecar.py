"""Sidecar files: those beside a database, each reached under its own name only and never through a link."""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

from workflow_server.store.sqlite.exceptions import FileBesideLinked

logger = logging.getLogger(__name__)

PRIVATE = 0o600
"""The mode of a database and of its sidecar files: they hold what clients sent, secrets among it."""

SUFFIXES = (".lock", "-reserve", "-wal", "-shm", "-journal", "-wal.left")
"""Suffixes of the names of sidecar files."""

_IS_LINK = frozenset((errno.ELOOP, errno.EMLINK))
"""Errors of ``open`` where ``O_NOFOLLOW`` meets a link: the first on Linux and macOS, the second on FreeBSD."""


def sidecar(path: Path, suffix: str) -> Path:
    """Return the path of the sidecar file with this suffix of the database at ``path``."""
    return path.with_name(path.name + suffix)


def open_sidecar(file: Path, flags: int) -> int:
    """Open a sidecar file to write to it; with ``O_CREAT`` it is made readable for its owner only.

    Raises:
        FileBesideLinked: it is a link, or has a second name: what is written to it would change a file elsewhere.
        OSError: it cannot be opened.
    """
    try:
        # With O_NONBLOCK, the open of a pipe in its place does not wait for the other end.
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


def check_sidecars(path: Path) -> None:
    """Check the sidecar files of the database at ``path``, and open none of them.

    Raises:
        FileBesideLinked: see ``open_sidecar``.
    """
    for suffix in SUFFIXES:
        file = sidecar(path, suffix)
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


def restrict_modes(path: Path) -> None:
    """Make the database at ``path`` and its sidecar files private to their owner, and log which were not."""
    for file in (path, *(sidecar(path, suffix) for suffix in SUFFIXES)):
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
