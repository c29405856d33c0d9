"""Recording what a process does to the files of a folder: the recorder is built, and its log read."""

from __future__ import annotations

import enum
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent.parent / "native" / "recorder.c"

_HEAD = struct.Struct("=IIQQQ")


class Kind(enum.IntEnum):
    """The kind of an operation; the numbers are those of the recorder."""

    OPENED = 1
    WRITTEN = 2
    SYNCED = 3
    CUT = 4
    REMOVED = 5
    RENAMED = 6
    FOLDER_SYNCED = 7


class Operation(NamedTuple):
    """One call that came back without an error."""

    kind: Kind
    created: bool
    emptied: bool
    file: int
    offset: int
    """The place of the write, or the size to which the file was cut."""
    data: bytes
    """The bytes that were written."""
    name: str
    """Of what was opened, made, removed, renamed or, a folder, synced; relative to the recorded folder."""
    new_name: str


def build_recorder(folder: Path) -> Path:
    """Build the recorder with the system's compiler."""
    library = folder / "recorder.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-lpthread"], check=True)
    return library


def recorder_environment(library: Path, folder: Path, log: Path) -> dict[str, str]:
    """The variables with which a process is recorded."""
    return {"LD_PRELOAD": str(library), "RECORDER_FOLDER": str(folder.resolve()), "RECORDER_LOG": str(log)}


def read_log(log: Path) -> list[Operation]:
    """Return the recorded operations, in order. A process that was killed while it recorded leaves no half operation:
    each is one write."""
    content = log.read_bytes()
    operations: list[Operation] = []
    place = 0
    while place < len(content):
        number, flags, file, offset, length = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        data = content[place : place + length]
        assert len(data) == length, "the log ends in the middle of an operation"
        place += length
        kind = Kind(number)
        names = ["", ""] if kind is Kind.WRITTEN else [*data.decode().split("\0"), ""]
        written = data if kind is Kind.WRITTEN else b""
        operations.append(Operation(kind, bool(flags & 1), bool(flags & 2), file, offset, written, names[0], names[1]))
    return operations


def of_folder(operations: Sequence[Operation], folder: str) -> list[Operation]:
    """Those on the files of one folder of several, by the files' names in it."""
    inside: dict[int, bool] = {}
    found: list[Operation] = []
    for operation in operations:
        named = operation.name == folder or operation.name.startswith(f"{folder}/")
        if operation.kind is Kind.OPENED:
            inside[operation.file] = named
        if named or inside.get(operation.file, False):
            name = operation.name.removeprefix(folder).removeprefix("/")
            found.append(operation._replace(name=name, new_name=operation.new_name.removeprefix(f"{folder}/")))
    return found
