"""Isolation of children that steps fork: they do not get the server's lock, database, sockets, signals or event loop.

A forked child shares the open files of its parent. One that outlives the server would hold its lock and port, so that
the next start fails, and its clients' connections, so that no reader notices that the server is gone. Spawned processes
and executed programs have none of these: the descriptors are closed on exec.

In the child, each descriptor is replaced by the null device rather than closed: objects of the parent in the child's
memory close their descriptors sooner or later, and must not close what the child has opened under the same numbers.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import stat
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

STRAYED = 70
"""The exit code of a child that continued as if it were the server: EX_SOFTWARE of sysexits.h."""

_DESCRIPTORS = "/dev/fd"
_STRAYED = (
    b"workflow-server: a child forked by a step returned to the server's event loop, and was ended. "
    b"End it with os._exit(), or use multiprocessing or subprocess.\n"
)


class FileIdentity(NamedTuple):
    """The identity of a file, independent of names and descriptors."""

    device: int
    inode: int


Address = str | bytes | int
"""The port of an internet socket, or the path of a Unix socket."""

_files: Counter[FileIdentity] = Counter()
_addresses: set[Address | None] = set()
_signals: set[int] = set()
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


class WithheldFiles:
    """Files whose descriptors no forked child gets, until they are given up."""

    def __init__(self) -> None:
        self._files: list[FileIdentity] = []

    def add(self, *files: Path | int) -> None:
        """Withhold files, by path or open descriptor. Missing paths are ignored."""
        for file in files:
            with suppress(FileNotFoundError):
                found = os.stat(file)
                self._files.append(FileIdentity(found.st_dev, found.st_ino))
                _files[self._files[-1]] += 1

    def give_up(self) -> None:
        """Withhold the files no longer."""
        _files.subtract(self._files)
        self._files.clear()


def withhold_sockets(*names: Any) -> None:
    """Withhold sockets with these names, as ``getsockname`` returns them: those that listen, and their connections."""
    _addresses.update(filter(None, map(_address, names)))


def give_up_sockets(*names: Any) -> None:
    """Withhold sockets with these names no longer."""
    _addresses.difference_update(map(_address, names))


@contextmanager
def signals_of_the_server(numbers: Sequence[int]) -> Iterator[None]:
    """Reset these signals, which the server handles in the block, to their defaults in forked children."""
    _signals.update(numbers)
    try:
        yield
    finally:
        _signals.difference_update(numbers)


def withhold_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End forked children that return to this loop, where they would run the server's steps a second time."""
    _loops.add(loop)


def give_up_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Allow forked children to run this loop."""
    _loops.discard(loop)


def _address(name: Any) -> Address | None:
    if isinstance(name, tuple) and len(name) >= 2 and isinstance(name[1], int):
        return name[1]
    return name if isinstance(name, (str, bytes)) and name else None


# -- Around the fork ---------------------------------------------------------------------------

_masks = threading.local()


def _before() -> None:
    # A signal that the child gets before its own handling is set would be taken for one to the server.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _in_child() -> None:
    try:
        _forget_the_server()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _forget_the_server() -> None:
    if not (_files or _addresses or _signals or _loops):
        return
    _let_go_of_descriptors()
    _reset_signals()
    for loop in list(_loops):
        _end_on_return(loop)
    _files.clear()
    _addresses.clear()
    _signals.clear()
    _loops.clear()


def _let_go_of_descriptors() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for descriptor in _open_descriptors():
        if descriptor != nothing and _is_withheld(descriptor):
            os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)


def _open_descriptors() -> Sequence[int]:
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]
    except (OSError, ValueError):
        return range(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _is_withheld(descriptor: int) -> bool:
    try:
        file = os.fstat(descriptor)
        if not stat.S_ISSOCK(file.st_mode):
            return _files[FileIdentity(file.st_dev, file.st_ino)] > 0
        found = socket.socket(fileno=descriptor)
        try:
            return _address(found.getsockname()) in _addresses
        finally:
            found.detach()
    except OSError:
        # It was closed, or is a socket of a kind that has no name.
        return False


def _reset_signals() -> None:
    if not _signals:
        return
    # Python writes signals to this descriptor, which is an end of a pipe that the server reads.
    signal.set_wakeup_fd(-1)
    for number in _signals:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _end_on_return(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(AttributeError):
        # Synchronous steps deliver their result to the loop by this, from a thread that then waits for the next one.
        setattr(loop, "call_soon_threadsafe", _end_strayed)  # noqa: B010 a method of the class, to mypy
    try:
        handle = loop.call_soon(_end_strayed)
    except RuntimeError:
        # It is closed, or another thread's, and does not run here.
        return
    for ready in (getattr(loop, "_ready", None), *gc.get_referents(loop)):
        # uvloop's is an attribute of C, which only the garbage collector shows.
        if isinstance(ready, deque) and ready and ready[-1] is handle:
            # Ahead of everything that was about to run, which is for the parent to run.
            ready.rotate(1)
            return


def _end_strayed(*_: Any, **__: Any) -> None:
    os.write(2, _STRAYED)
    os._exit(STRAYED)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
