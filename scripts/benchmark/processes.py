"""Processes: how they are started and ended, and the CPU time and memory that they took.

Everything is read from the kernel, for one process id and its children. Linux only.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

START_WITHIN = 300.0
"""Seconds within which a server has to listen: with a full disk cache and an idle machine it takes one."""
_LISTENING = re.compile(r"Listening on (http://[^\s/]+)")
_TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStart(Exception):
    """A server that ended, or did not listen in time."""


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of servers, and with ``more``."""
    names = ("WORKFLOW_SERVER_", "BENCHMARK_", "PYTHONPATH")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(names)}, **more}


def cpu_seconds(pid: int) -> float:
    """Return user and system seconds of a process and of its children, living or waited for.

    The clock of a process is the kernel's ``CLOCK_PROCESS_CPUTIME_ID`` of another one, in nanoseconds; children that
    have ended are known to 10 ms.
    """
    total = time.clock_gettime((~pid << 3) | 2)
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total += (int(stat[13]) + int(stat[14])) / _TICKS
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if children.exists():
        total += sum(cpu_seconds(int(child)) for child in children.read_text().split())
    return total


def own_memory(pid: int) -> int:
    """Return the bytes of anonymous memory that a process has resident."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1_024


async def until(condition: Callable[[], bool], pause: float = 0.05) -> None:
    """Return when the condition holds.

    Raises:
        TimeoutError: it did not in ten minutes.
    """
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(pause)


class Process:
    """A server in a process of its own; what it prints goes into a file of ``folder``."""

    def __init__(self, command: Sequence[str], folder: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self._out = folder / "out.txt"
        with self._out.open("wb") as out, (folder / "log.txt").open("ab") as log:
            self._log = Path(log.name)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=cwd,
                env=clean_environment(environment),
            )

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def address(self) -> str:
        """Return the address that the server prints, once it has.

        Raises:
            DidNotStart: it ended, or printed none in time.
        """
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            found = _LISTENING.search(self._out.read_text(errors="replace"))
            if found is not None:
                return found[1]
            if self._process.poll() is not None:
                break
            await asyncio.sleep(0.01)
        raise DidNotStart(f"the server did not start: {self._log.read_text(errors='replace')[-1_000:]}")

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal and wait for the end; after a minute the process is killed."""
        if self._process.poll() is None:
            self._process.send_signal(number)
            try:
                await asyncio.to_thread(self._process.wait, 60)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Kill the process where it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
