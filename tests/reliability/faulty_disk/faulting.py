"""Storage faults by the call: the library ``native/faults.c``, its control, and a server that runs under it."""

from __future__ import annotations

import asyncio
import mmap
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.harness.server_process import DurableServer
from tests.harness.waiting import until

NATIVE = Path(__file__).parent.parent / "native"
TARGET = Path(__file__).parent.parent / "targets" / "faulted.py"

KINDS = ("open", "write", "fsync", "ftruncate")
NEVER = len(KINDS)
LISTEN = len(KINDS)
DATABASE, LOG, INDEX, JOURNAL, LOCK, RESERVE, FOLDER = range(1, 8)
EVERY_FILE = (1 << 8) - 1

_WORD = 8
_KIND, _NTH, _ERROR, _LASTS, _FILES, _FULL, _INJECTED, _FAILED_FILE, _COUNTS = range(9)
_ROOM = _COUNTS + len(KINDS)
_TRACED = _ROOM + 1
_TRACE = _TRACED + 1
_TRACE_SIZE = 1 << 16


class Call(NamedTuple):
    """One call that the library has seen."""

    kind: int
    file: int


class Fault(NamedTuple):
    """The ``nth`` call of this kind fails with ``error``; ``lasts`` are those after it, too."""

    kind: str
    nth: int
    error: int
    lasts: bool = False


def build(folder: Path) -> Path:
    """The library, made with the system's compiler."""
    library = folder / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(NATIVE / "faults.c")]
    subprocess.run([*command, "-ldl"], check=True, capture_output=True, text=True)
    return library


class FaultControl:
    """The faults to inject, the calls made, and the calls that failed: memory shared with the process under attack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"\0" * (_TRACE * _WORD + _TRACE_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._words = memoryview(self._map)[: _TRACE * _WORD].cast("Q")
        self.lift()

    def arm(self, fault: Fault, *, files: int = EVERY_FILE) -> None:
        """From now on calls are counted, and that one fails."""
        self.lift()
        self.reset()
        self._words[_NTH], self._words[_ERROR], self._words[_LASTS] = fault.nth, fault.error, fault.lasts
        self._words[_FILES] = files
        self._words[_KIND] = KINDS.index(fault.kind)

    def fill_disk(self) -> None:
        """From now on no file grows, and none is made, but in the room that others give back."""
        self._words[_ROOM] = 0
        self._words[_FULL] = 1

    def lift(self) -> None:
        """Nothing fails any more; calls of all files are counted."""
        self._words[_KIND], self._words[_FULL], self._words[_FILES] = NEVER, 0, EVERY_FILE

    def reset(self) -> None:
        """Count from 0, and forget the trace and what has failed."""
        for word in (_INJECTED, _FAILED_FILE, _TRACED, *range(_COUNTS, _ROOM)):
            self._words[word] = 0

    @property
    def injected(self) -> int:
        """Return the number of calls that have failed."""
        return self._words[_INJECTED]

    @property
    def lasts(self) -> bool:
        """The fault is permanent: every call of its kind fails from now on, or the disk is full."""
        armed = self._words[_KIND] != NEVER and self._words[_LASTS] != 0
        return bool(self._words[_FULL]) or (armed and self.injected > 0)

    async def until_injected(self) -> None:
        """Return when a call has failed."""
        while not self.injected:  # noqa: ASYNC110 it is another process that makes the call
            await asyncio.sleep(0.02)

    @property
    def failed_file(self) -> int:
        """Of which file the last call was that has failed."""
        return self._words[_FAILED_FILE]

    def counts(self) -> dict[str, int]:
        """Return the number of calls of each kind."""
        return {kind: self._words[_COUNTS + place] for place, kind in enumerate(KINDS)}

    def trace(self) -> list[Call]:
        """Every call, in order."""
        traced = self._words[_TRACED]
        assert traced <= _TRACE_SIZE, "the trace is too short"
        start = _TRACE * _WORD
        return [Call(byte >> 4, byte & 15) for byte in self._map[start : start + traced]]


class FaultedServer(DurableServer):
    """A server process under the library; it starts without faults unless its control says otherwise."""

    def __init__(self, folder: Path, library: Path) -> None:
        # The deadline of a stop is another promise: on a busy machine it would come before the store is closed.
        super().__init__(folder, str(TARGET), "--grace-period", "20")
        self.control = FaultControl(folder / "faults.control")
        self.prefix: tuple[str, ...] = ()
        """The command that runs its own, if any."""
        self.environment |= {
            "FAULTS_CONTROL": str(self.control.path),
            "WORKFLOW_SERVER_PERSISTENCE_BACKOFF": "0.05,0.1",
            "LD_PRELOAD": str(library),
        }
        self._life = 0

    async def start(self, target: str | None = None, *, port: str = "0") -> None:
        """Start it, and remember where its log begins."""
        self.environment["FAULTS_DATABASE"] = str(self.db)
        self._life = self._log.stat().st_size if self._log.exists() else 0
        await super().start(target, port=port)

    @property
    def log(self) -> str:
        """The log of this life of the server."""
        with self._log.open("rb") as file:
            file.seek(self._life)
            return file.read().decode()

    async def try_start(self) -> int | None:
        """Start it; the exit code where it did not come to listen."""
        try:
            await self.start()
        except AssertionError:
            return await self.ended()
        return None

    @property
    def is_running(self) -> bool:
        """Return whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    async def until_logged(self, text: str, timeout: float = 30.0) -> None:
        """Return when this life of the server has logged the text."""
        await until(lambda: text in self.log, lambda: f"the server did not log {text!r}:\n{self.log}", patience=timeout)
