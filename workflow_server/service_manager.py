"""Notices to systemd of the life of the server: ready, stopping, still starting, alive (the protocol of sd_notify(3)).

Own code, because what there is in Python either needs a compiler or has had no release for years, and the protocol is
one datagram for each message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping

logger = logging.getLogger(__name__)

EXTENSION = 30.0
"""Seconds by which systemd is asked, time and again, to wait longer for the start."""
SHORTEST_WATCH = 0.1
"""Seconds: nobody sets a watchdog that would take more of the event loop than the server does."""
ABSTRACT = "@"
"""First character of an address in Linux's abstract namespace as NOTIFY_SOCKET has it; in the address, it is a NUL."""


class ServiceManager:
    """Sends notices to systemd where it started this process with ``Type=notify``; does nothing elsewhere.

    A notice that cannot be sent is logged, and the server goes on without.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith(ABSTRACT) else address
        self._watchdog = _watchdog(environment)
        self._is_lost = False
        """The last notice could not be sent, which was logged."""

    def ready(self, status: str) -> None:
        """Tell that the server accepts requests, and in one line what ``systemctl status`` shows."""
        self._send("READY=1", f"STATUS={status}")

    def stopping(self, seconds: float) -> None:
        """Tell that the server stops, which may take so many seconds."""
        self._send("STOPPING=1", "STATUS=Stopping", _extension(seconds))

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Within the block, ask systemd every few seconds to wait longer: checking a large file takes its time."""
        with self._repeating(EXTENSION / 3, "STATUS=Starting", _extension(EXTENSION)):
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block, tell that the event loop turns, twice in the time of ``WatchdogSec=`` where it is set."""
        with self._repeating(self._watchdog and self._watchdog / 2, "WATCHDOG=1"):
            yield

    @contextlib.contextmanager
    def _repeating(self, seconds: float | None, *lines: str) -> Iterator[None]:
        if not self._address or not seconds:
            yield
            return
        task = asyncio.create_task(self._repeat(seconds, lines), name="notify the service manager")
        try:
            yield
        finally:
            task.cancel()

    async def _repeat(self, seconds: float, lines: tuple[str, ...]) -> None:
        while True:
            self._send(*lines)
            await asyncio.sleep(seconds)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notices:
                notices.setblocking(False)
                notices.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._is_lost:
                logger.warning("The service manager was not told %s: %s", lines[0], error.strerror or error)
            self._is_lost = True
        else:
            self._is_lost = False


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Return the seconds within which systemd expects to hear of this process, or None where it does not."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_own = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not is_own or not re.fullmatch("[0-9]{1,15}", microseconds):
        return None
    return max(int(microseconds) / 1_000_000, SHORTEST_WATCH)
