"""Figures of a server's process from the kernel: memory, descriptors, connections, and the size of its log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.harness.server_process import DurableServer
from workflow_server.store.sqlite.readers import READERS

MIB = 1024 * 1024
INTERVAL = 0.1
"""Seconds between two samples."""
_ESTABLISHED = "01"


class Figures:
    """The largest of what was seen."""

    def __init__(self, server: DurableServer) -> None:
        self.samples = 0
        self.memory = 0
        """Bytes of resident memory (RSS)."""
        self.wal = 0
        """Bytes of the write-ahead log."""
        self._pid = server.process.pid
        self._wal = server.db.with_name(server.db.name + "-wal")

    def sample(self) -> None:
        """Look once."""
        self.samples += 1
        self.memory = max(self.memory, resident_memory(self._pid))
        with contextlib.suppress(FileNotFoundError):
            self.wal = max(self.wal, self._wal.stat().st_size)


@asynccontextmanager
async def sampled(server: DurableServer, also: Callable[[], None] | None = None) -> AsyncIterator[Figures]:
    """Sample ten times a second while inside; ``also`` is called with each sample."""
    figures = Figures(server)

    async def keep_sampling() -> None:
        while True:
            figures.sample()
            if also is not None:
                also()
            await asyncio.sleep(INTERVAL)

    task = asyncio.create_task(keep_sampling(), name="sample the server")
    try:
        yield figures
    finally:
        task.cancel()
        ends = await asyncio.gather(task, return_exceptions=True)
    if isinstance(ends[0], Exception):
        raise ends[0]


def resident_memory(pid: int) -> int:
    """RSS in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no memory")


def descriptors(pid: int) -> int:
    """Return the number of open descriptors. SQLite opens the log for a connection at its first read, which depends on
    how many read at once: those of all connections count from the beginning."""
    opened: list[str] = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            opened.append(str(link.readlink()))
    logs = sum(name.endswith("-wal") for name in opened)
    return len(opened) - logs + max(logs, 1 + READERS)


def connected_ports(port: int) -> set[int]:
    """The ports of those whose connection to ``port`` the server has not closed."""
    connected: set[int] = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port:
            connected.add(int(remote.rpartition(":")[2], 16))
    return connected
