"""The server's own clock, by which deadlines are measured, independent of changes to the wall clock.

It agrees with the wall clock when a database is new, and from then on advances with the system's uptime. Setting the
wall clock moves no deadline; the difference between the two is kept in the database, in the note of being alive. Times
shown to users are the wall clock's.
"""

from __future__ import annotations

import time
from pathlib import Path

from workflow_server.records import ServerAlive

UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The system clock that cannot be set; on Linux, the one that also counts the time during which the machine is
suspended: https://man7.org/linux/man-pages/man2/clock_gettime.2.html"""

LONGEST_SLEEP = 60.0
"""Maximum seconds of one sleep of code that waits for a deadline: the event loop's own clock stands still while the
machine is suspended, so look at this clock again."""

JITTER = 0.01
"""Seconds by which readings of two clocks may differ though neither was set."""

LEAP = 3_600.0
"""Seconds of a leap of the wall clock that are believed at once: corrections are smaller, and so are restarts."""
BELIEVED_AFTER = 86_400.0
"""Seconds after which a longer leap is believed that was not taken back."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""A text that differs after each start of the system: https://man7.org/linux/man-pages/man5/proc_sys_kernel.5.html"""


class ServerClock:
    """Server time: it never goes back, and continues where the previous server left it."""

    def __init__(self) -> None:
        self._zero = time.time() - _uptime()
        self._boot = _boot()
        self._behind = 0.0
        """The last reading of ``behind``."""

    def now(self) -> float:
        """Return the server time, in seconds since the Unix epoch."""
        return self._zero + _uptime()

    def behind(self) -> float:
        """Return the seconds to add to a server time to get the wall clock's: the same until one of the two is set.

        They cannot be read in the same moment. A client that asks again should find the same times.
        """
        read = time.time() - self.now()
        if abs(read - self._behind) > JITTER:
            self._behind = read
        return self._behind

    def read(self) -> ServerAlive:
        """Return the readings of all clocks, for the next server to resume from."""
        wall = time.time()
        return ServerAlive(wall, self.now() - wall, _uptime(), self._boot)

    def resume(self, last: ServerAlive | None) -> float:
        """Continue from the previous server's last note, and return the seconds for which no server was alive.

        A wall clock that was set forward meanwhile counts as elapsed time. One that was set back makes no difference if
        the system has not restarted; if it has, the wall clock is the only source, and the downtime is underestimated
        by as much.
        """
        if last is None:
            return 0.0
        downtime = max(0.0, time.time() - last.at)
        if last.uptime is not None and last.boot is not None and last.boot == self._boot:
            downtime = max(downtime, _uptime() - last.uptime)
        self._zero = last.at + last.ahead + downtime - _uptime()
        return downtime


class CautiousClock:
    """The wall clock, for what cannot be taken back: where it leaps forward, that counts a day later only.

    So a wall clock that was wrong for a day makes nothing look old. Time in which no server was alive is such a leap,
    too; one that is set back counts at once. ``seen`` is the wall clock's time when a server was last alive.
    """

    def __init__(self, clock: ServerClock, seen: float | None) -> None:
        self._clock = clock
        self._behind = (time.time() if seen is None else seen) - clock.now()
        """The difference to the server's clock that is believed."""
        self._leapt_at: float | None = None

    def now(self) -> float:
        """Return the time, in seconds since the Unix epoch; never later than the wall clock's."""
        now, behind = self._clock.now(), self._clock.behind()
        if behind <= self._behind + LEAP:
            self._behind, self._leapt_at = behind, None
        elif self._leapt_at is None:
            self._leapt_at = now
        elif now - self._leapt_at >= BELIEVED_AFTER:
            self._behind, self._leapt_at = behind, None
        return now + self._behind


def _uptime() -> float:
    return time.clock_gettime(UPTIME)


def _boot() -> str | None:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
