"""The server's own clock: what deadlines are told by, whatever becomes of the wall clock.

It agrees with the wall clock when a database is new, and from then on goes at the pace of the system's uptime. Setting
the wall clock moves no deadline; how far the two have come apart is kept in the database, in the note of being alive.
Times that are shown to users are the wall clock's.
"""

from __future__ import annotations

import time
from pathlib import Path

from workflow_server.records import ServerAlive

UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The system's clock that nobody sets; on Linux the one that also counts the time for which the machine is suspended:
https://man7.org/linux/man-pages/man2/clock_gettime.2.html"""

LONGEST_SLEEP = 60.0
"""Seconds after which who waits for a deadline looks at this clock again: the event loop's, by which it waits, stands
still while the machine is suspended."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another text after each start of the system: https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html"""


class ServerClock:
    """Server time: it never goes back, and goes on where the server before had left it."""

    def __init__(self) -> None:
        self._zero = time.time() - _uptime()
        self._boot = _boot()

    def now(self) -> float:
        """Server time, in seconds that began to count where Unix time did."""
        return self._zero + _uptime()

    def behind(self) -> float:
        """Return what to add to a server time to get that of the wall clock."""
        return time.time() - self.now()

    def read(self) -> ServerAlive:
        """All clocks, as the next server needs them."""
        wall = time.time()
        return ServerAlive(wall, self.now() - wall, _uptime(), self._boot)

    def resume(self, last: ServerAlive | None) -> float:
        """Go on from the last note of the server before; returns the seconds for which no server was alive.

        A wall clock that was set forward meanwhile counts as time gone by. One that was set back changes nothing where
        the system was up all the time; after a restart of the system nothing tells but the wall clock, and the downtime
        is taken for shorter by so much.
        """
        if last is None:
            return 0.0
        downtime = max(0.0, time.time() - last.at)
        if last.uptime is not None and last.boot is not None and last.boot == self._boot:
            downtime = max(downtime, _uptime() - last.uptime)
        self._zero = last.at + last.ahead + downtime - _uptime()
        return downtime


def _uptime() -> float:
    return time.clock_gettime(UPTIME)


def _boot() -> str | None:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
