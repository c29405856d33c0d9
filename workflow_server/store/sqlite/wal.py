"""The write-ahead log as a file: its name, commits that were lost in it, and writing it anew.

SQLite ends the log at the first frame that it cannot read, and drops the frames behind it silently. That is right for
the last commit, which a power cut may have torn and nobody was told of. But each commit is synced before a frame of the
next one is written (``synchronous=FULL``): a commit behind the end that another commit follows was whole once, and is
lost by damage. Each frame's checksum continues that of the frame before it, so frames that an earlier power cut left
further behind are not taken for followers.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Offsets and sizes: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html
_LOG_HEADER, _FRAME_HEADER = 32, 24
_INDEX_HEADER = 48
_INDEX_VERSION = 3_007_000
_BIG_ENDIAN = bytes.fromhex("377f0683")
"""Beginning of a log whose checksums are of big-endian words."""
_PIECE = 1 << 20


class _Frame(NamedTuple):
    header: bytes
    page: bytes

    @property
    def number(self) -> int:
        return int.from_bytes(self.header[:4])

    @property
    def commits(self) -> bool:
        return self.header[4:8] != bytes(4)

    @property
    def salts(self) -> bytes:
        return self.header[8:16]

    def follows(self, other: _Frame, order: str) -> bool:
        """Return True where this frame was written right behind the other; ``order`` is the byte order of words."""
        words = struct.unpack(f"{order}{2 + len(self.page) // 4}I", self.header[:8] + self.page)
        first, second = struct.unpack(">2I", other.header[16:24])
        for one, two in zip(words[::2], words[1::2], strict=True):
            first = (first + one + second) & 0xFFFF_FFFF
            second = (second + two + first) & 0xFFFF_FFFF
        return struct.pack(">2I", first, second) == self.header[16:24]


def log_of(path: Path) -> Path:
    """Return the path of the log of the database at ``path``."""
    return path.with_name(path.name + "-wal")


def left_log_of(path: Path) -> Path:
    """Return the path that the log of the database at ``path`` is renamed to when the database is gone."""
    return path.with_name(path.name + "-wal.left")


def has_log(path: Path) -> bool:
    """Return True where there is a log that is not empty."""
    log = log_of(path)
    return log.exists() and log.stat().st_size > 0


def has_left_log(path: Path) -> bool:
    """Return True where the log of a database that is gone was set aside."""
    return left_log_of(path).exists()


def write_anew(path: Path) -> None:
    """Write each byte of the log again in its place, and sync, so that the disk has what the system shows.

    Only to be called while nobody else can write to the log. SQLite holds no locks on it that closing it could drop.

    Raises:
        OSError: the log could not be written.
    """
    descriptor = os.open(log_of(path), os.O_RDWR | os.O_CLOEXEC)
    try:
        place = 0
        while piece := os.pread(descriptor, _PIECE, place):
            place += os.pwrite(descriptor, piece, place)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lost_commits(path: Path, page_size: int) -> int:
    """Return the number of synced commits behind the frame at which SQLite ended the log.

    Only to be called when SQLite has read the log, and while no connection of this process is open: closing a file
    would drop SQLite's locks on it.
    """
    if not has_log(path):
        return 0
    recovered = _recovered_frames(path.with_name(path.name + "-shm"))
    if recovered is None:
        return 0
    with log_of(path).open("rb") as log:
        header = log.read(_LOG_HEADER)
        order = ">" if header[:4] == _BIG_ENDIAN else "<"
        # Frames of an earlier use of the log have other salts.
        behind = (frame for frame in islice(_frames(log, page_size), recovered, None) if frame.salts == header[16:24])
        return sum(one.commits and other.follows(one, order) for one, other in pairwise(behind))


def first_page(path: Path, page_size: int) -> bytes:
    """Return the database's first page as SQLite reads it: the last copy in the log, or else the one in the file.

    Only to be called as ``lost_commits``.
    """
    recovered = _recovered_frames(path.with_name(path.name + "-shm")) if has_log(path) else None
    if recovered:
        with log_of(path).open("rb") as log:
            log.seek(_LOG_HEADER)
            copies = [frame.page for frame in islice(_frames(log, page_size), recovered) if frame.number == 1]
        if copies:
            return copies[-1]
    with path.open("rb") as file:
        return file.read(page_size)


def _recovered_frames(index: Path) -> int | None:
    """Return the number of frames that SQLite found whole, by the index that it made of the log; None without one."""
    if not index.exists():
        return None
    with index.open("rb") as file:
        header = file.read(_INDEX_HEADER)
    if len(header) < _INDEX_HEADER or int.from_bytes(header[:4], "little") != _INDEX_VERSION:
        return None
    return int.from_bytes(header[16:20], "little")


def _frames(log: BinaryIO, page_size: int) -> Iterator[_Frame]:
    while len(header := log.read(_FRAME_HEADER)) == _FRAME_HEADER and len(page := log.read(page_size)) == page_size:
        yield _Frame(header, page)
