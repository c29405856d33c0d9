"""The server's own clock: what deadlines are told by, whatever becomes of the wall clock.

It agrees with the wall clock when a database is new, and from then on goes at the pace of the system's uptime. Setting
the wall clock moves no deadline; how far the two have come apart is kept in the database beside the note of being
alive. Times that are shown to users are the wall clock's.
"""

from __future__ import annotations

import time
from typing import NamedTuple

UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The system's clock that nobody sets; on Linux the one that also counts the time for which the machine is suspended:
https://man7.org/linux/man-pages/man2/clock_gettime.2.html"""


class Reading(NamedTuple):
    """What both clocks showed at a moment."""

    wall: float
    """Unix seconds."""
    ahead: float
    """How far the server's clock was ahead of the wall clock; negative where it was behind."""


class ServerClock:
    """Server time: it never goes back, and goes on where the server before had left it."""

    def __init__(self) -> None:
        self._zero = time.time() - time.clock_gettime(UPTIME)

    def now(self) -> float:
        """Server time, in seconds that begin to count where Unix time does."""
        return self._zero + time.clock_gettime(UPTIME)

    def read(self) -> Reading:
        """Both clocks."""
        wall = time.time()
        return Reading(wall, self.now() - wall)

    def behind(self) -> float:
        """What to add to a server time for the wall clock's."""
        return time.time() - self.now()

    def resume(self, last: Reading | None) -> float:
        """Go on from the last reading of the server before; returns the seconds for which no server was alive.

        Only the wall clock tells how long that was: a wall clock that was set forward meanwhile counts as time gone by,
        and one that was set back as no time.
        """
        if last is None:
            return 0.0
        wall = time.time()
        downtime = max(0.0, wall - last.wall)
        self._zero = last.wall + last.ahead + downtime - time.clock_gettime(UPTIME)
        return downtime
