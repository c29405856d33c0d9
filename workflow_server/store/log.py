"""The write-ahead log as a file: where it lies, and whether commits were lost in it.

SQLite ends the log at the first frame that it cannot read, and drops what follows without a word. That is right for
what a power cut tore: only the last commit, which nobody was told of. Each commit is synced before the next is written
(``synchronous=FULL``), so where two commits lie behind the end, the frame at which it ends had been whole once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Offsets and sizes: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INDEX_HEADER = 48
_INDEX_VERSION = 3_007_000


class _Frame(NamedTuple):
    commits: bool
    salts: bytes


def log_of(path: Path) -> Path:
    """The log of the database at ``path``."""
    return path.with_name(path.name + "-wal")


def has_log(path: Path) -> bool:
    """Whether there is a log with anything in it."""
    log = log_of(path)
    return log.exists() and log.stat().st_size > 0


def lost_commits(path: Path, page_size: int) -> int:
    """How many commits the log has behind the frame at which SQLite ended it; 0 where a power cut explains its end.

    Only to be called when SQLite has read the log, and when no connection of this process is open: closing a file
    would drop SQLite's locks on it.
    """
    if not has_log(path):
        return 0
    recovered = _recovered_frames(path.with_name(path.name + "-shm"))
    if recovered is None:
        return 0
    with log_of(path).open("rb") as log:
        header = log.read(_LOG_HEADER)
        frames = _frames(log, page_size)
        # Frames of an earlier use of the log have other salts.
        salts = header[16:24]
        behind = sum(
            frame.commits and frame.salts == salts for place, frame in enumerate(frames, 1) if place > recovered
        )
    return behind if behind >= 2 else 0


def _recovered_frames(index: Path) -> int | None:
    """How many frames SQLite found whole, as the index that it made of the log says."""
    if not index.exists():
        return None
    with index.open("rb") as file:
        header = file.read(_INDEX_HEADER)
    if len(header) < _INDEX_HEADER or int.from_bytes(header[:4], "little") != _INDEX_VERSION:
        return None
    return int.from_bytes(header[16:20], "little")


def _frames(log: BinaryIO, page_size: int) -> Iterator[_Frame]:
    place = _LOG_HEADER
    while True:
        log.seek(place)
        header = log.read(_FRAME_HEADER)
        if len(header) < _FRAME_HEADER:
            return
        yield _Frame(header[4:8] != bytes(4), header[8:16])
        place += _FRAME_HEADER + page_size
