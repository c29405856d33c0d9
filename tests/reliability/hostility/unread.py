"""Readers that never read, and what a process holds for them."""

from __future__ import annotations

import contextlib
import select
import socket
from pathlib import Path


def open_unread(port: int, sent: bytes) -> socket.socket:
    """A connection on which these bytes were sent, and nothing is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.connect(("127.0.0.1", port))
    connection.sendall(sent)
    return connection


def is_dropped(connection: socket.socket) -> bool:
    """Return whether the other side has given the connection up."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4_096


def sockets(pid: int) -> int:
    """Return the number of sockets that a process has open."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # It may close one between the list and the look.
        with contextlib.suppress(FileNotFoundError):
            count += descriptor.readlink().name.startswith("socket:")
    return count
