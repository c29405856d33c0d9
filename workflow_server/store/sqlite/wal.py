"""The write-ahead log as a file: where it lies, whether commits were lost in it, and how it is written anew.

SQLite ends the log at the first frame that it cannot read, and drops what follows without a word. That is right for
what a power cut tore: the last commit, which nobody was told of. But each commit is synced before a frame of the next
one is written (``synchronous=FULL``), so where a commit that another one follows lies behind the end, it had been whole
once. Each frame's checksum goes on from that of the frame before it; so what an earlier power cut left further behind
is not taken for what follows.
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
    def commits(self) -> bool:
        return self.header[4:8] != bytes(4)

    @property
    def salts(self) -> bytes:
        return self.header[8:16]

    def follows(self, other: _Frame, order: str) -> bool:
        """Return whether it was written right behind the other one; ``order`` is that of the bytes in a word."""
        words = struct.unpack(f"{order}{2 + len(self.page) // 4}I", self.header[:8] + self.page)
        first, second = struct.unpack(">2I", other.header[16:24])
        for one, two in zip(words[::2], words[1::2], strict=True):
            first = (first + one + second) & 0xFFFF_FFFF
            second = (second + two + first) & 0xFFFF_FFFF
        return struct.pack(">2I", first, second) == self.header[16:24]


def log_of(path: Path) -> Path:
    """The log of the database at ``path``."""
    return path.with_name(path.name + "-wal")


def left_log_of(path: Path) -> Path:
    """Return what the log of the database at ``path`` is renamed to when the database is gone."""
    return path.with_name(path.name + "-wal.left")


def has_log(path: Path) -> bool:
    """Return whether there is a log with anything in it."""
    log = log_of(path)
    return log.exists() and log.stat().st_size > 0


def has_left_log(path: Path) -> bool:
    """Return whether there is the log of a database that was here and is gone."""
    return left_log_of(path).exists()


def write_anew(path: Path) -> None:
    """Write each byte of the log again where it is, and sync: what the system shows, the disk then has.

    Only to be called while nobody else can write to the log. SQLite has no locks on it that closing it could drop.

    Raises:
        OSError: the disk does not take it.
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
    """Return how many commits that were synced the log has behind the frame at which SQLite ended it.

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
        order = ">" if header[:4] == _BIG_ENDIAN else "<"
        # Frames of an earlier use of the log have other salts.
        behind = (frame for frame in islice(_frames(log, page_size), recovered, None) if frame.salts == header[16:24])
        return sum(one.commits and other.follows(one, order) for one, other in pairwise(behind))


def _recovered_frames(index: Path) -> int | None:
    """Return how many frames SQLite found whole, as the index that it made of the log says."""
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
