"""The end of the process: signals that arrive though the event loop is blocked, and a deadline that nothing delays.

Python runs signal handlers on the main thread, between two bytecode instructions, and asyncio's after that on the event
loop: a step that blocks the thread or the loop blocks them, too. But the interpreter writes the signal's number into a
file descriptor at once, whatever runs; here a thread reads it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from workflow_server.execution.containment import tasks_of

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that end the server."""
HANGUP = signal.SIGHUP
"""The signal at which a server reads its files again, where it has any: it ends other processes."""
HANDLED = (*SIGNALS, HANGUP)

FORCED = 130
"""Exit code of a process that ends before the store is closed."""
AFTER_GRACE = 5.0
"""Seconds after the grace period within which the process ends, whatever still runs in it."""
MARGIN = 0.5
"""Seconds of these that are left for a busy machine."""
FAREWELL = 0.5
"""Seconds that the last log record may take: the reader of the log may have stopped reading."""
GIVEN_UP = 1.0
"""Seconds that cancelled tasks get to end after the server has stopped."""


class StopSignals:
    """Handles SIGTERM and SIGINT inside a ``with`` block, for ``owner``, the server that started the steps' tasks.

    The first signal sets ``stopping``; from then on the process ends within ``grace`` plus ``AFTER_GRACE`` seconds. The
    second one ends it at once. Outside the main thread, no signals arrive: Python delivers them there only.

    ``on_hangup`` is called on the event loop at SIGHUP, which is not handled without it.
    """

    def __init__(self, owner: object, grace: float, on_hangup: Callable[[], None] | None = None) -> None:
        self._owner = owner
        self._on_hangup = on_hangup
        self._handled = SIGNALS if on_hangup is None else HANDLED
        self.stopping = asyncio.Event()
        self.exit_code = FORCED
        """The exit code when the deadline ends the process; 0 once the store is closed."""
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._seen = 0
        self._reading, self._writing = socket.socketpair()
        self._forward_to = -1
        """The wakeup descriptor of others, such as asyncio's for signal handlers that the program has added."""
        self._previous: dict[int, Any] = {}
        self._threads = set(threading.enumerate())
        self._watcher = threading.Thread(target=self._watch, name="stop signals", daemon=True)

    def __enter__(self) -> Self:
        self._writing.setblocking(False)
        self._reading.setblocking(False)
        self._watcher.start()
        if threading.current_thread() is threading.main_thread():
            for number in self._handled:
                self._previous[number] = signal.signal(number, self._on_signal)
            self._forward_to = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
            _installed.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous signal handling, unless steps have left something running that could keep the process
        alive: then the deadline and the second signal stay in force."""
        left = self._left_behind()
        if self._deadline is not None and left:
            logger.warning("Steps left these running: %s", ", ".join(left))
            return
        self._deadline = None
        if self._previous:
            self._give_back()
        self._writing.close()
        self._watcher.join()
        self._reading.close()

    def _give_back(self) -> None:
        """Restore the previous signal handling, which a second server, started after this one, may have taken over."""
        _installed.remove(self)
        current = signal.set_wakeup_fd(self._forward_to)
        if current != self._writing.fileno():
            signal.set_wakeup_fd(current)
        for number, handler in self._previous.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        for other in _installed:
            if other._forward_to == self._writing.fileno():
                other._forward_to, other._previous = self._forward_to, self._previous

    def begin(self, grace: float) -> None:
        """Set the deadline of the process: ``grace`` plus ``AFTER_GRACE`` seconds from now."""
        if self._deadline is None:
            self._deadline = time.monotonic() + grace + AFTER_GRACE - MARGIN
            self._note(0)

    # -- Signals -------------------------------------------------------------------------------

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Handle a signal on the main thread. The watcher has it already, unless other code replaced our wakeup
        descriptor."""
        current = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        if current != self._writing.fileno():
            self._forward_to = current
            self._note(number)

    def _note(self, number: int) -> None:
        self._writing.send(bytes([number]))

    def _watch(self) -> None:
        while True:
            timeout = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select([self._reading], [], [], timeout)
            if not ready:
                self._expire()
                continue
            numbers = self._reading.recv(4096)
            if not numbers:
                return
            for number in numbers:
                self._notice(number)

    def _notice(self, number: int) -> None:
        to_server = any(other._writing.fileno() == self._forward_to for other in _installed)
        if self._forward_to >= 0 and number and (number not in SIGNALS or to_server):
            with suppress(OSError):  # it is full and so will be read, or its owner is gone
                os.write(self._forward_to, bytes([number]))
        if number == HANGUP and self._on_hangup is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_hangup)
        if number not in SIGNALS:
            return
        self._seen += 1
        if self._seen > 1:
            end_process(FORCED, "Second signal: exiting now")
        self._deadline = time.monotonic() + self._grace + AFTER_GRACE - MARGIN
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        logger.info("Stopping: running steps may finish up to their next commit; no run is cancelled")
        self.stopping.set()

    def _expire(self) -> None:
        if self._deadline is None:
            return
        how = "as in a crash" if self.exit_code == FORCED else "the store is closed"
        end_process(self.exit_code, f"Shutdown deadline exceeded while steps still run: exiting now ({how})")

    # -- Leftovers of steps --------------------------------------------------------------------

    async def give_up(self) -> None:
        """Cancel the tasks that steps have left running on the loop."""
        tasks = tasks_of(self._owner)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GIVEN_UP)

    def _left_behind(self) -> list[str]:
        tasks = [task.get_name() for task in tasks_of(self._owner)]
        return [*tasks, *(f"thread {thread.name}" for thread in busy_threads() if thread not in self._threads)]

    def reset_in_child(self) -> None:
        """Give a forked child its own signal handling: its signals must not stop the server."""
        signal.set_wakeup_fd(-1)
        for number in self._handled:
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        self._reading.close()
        self._writing.close()


_installed: list[StopSignals] = []
_forking = threading.local()


def _before_fork() -> None:
    """Block signals in the child until it has its own handling: until then, they would reach the server's watcher."""
    if _installed:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def _after_fork_in_parent() -> None:
    if hasattr(_forking, "mask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)
        del _forking.mask


def _after_fork_in_child() -> None:
    for signals in _installed:
        signals.reset_in_child()
    _installed.clear()
    _after_fork_in_parent()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def busy_threads() -> list[threading.Thread]:
    """Return the threads that the interpreter would wait for at exit, without idle threads of pools."""
    frames = sys._current_frames()
    busy: list[threading.Thread] = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        idle = frame is not None and frame.f_code is concurrent.futures.thread._worker.__code__
        if thread is not threading.main_thread() and not thread.daemon and not idle:
            busy.append(thread)
    return busy


def end_process(code: int, reason: str | None = None) -> None:
    """End the process now, without waiting for threads. ``reason`` is logged if the log takes it in time."""

    def farewell() -> None:
        if reason is not None:
            logger.warning(reason)
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()

    last = threading.Thread(target=farewell, name="last log record", daemon=True)
    # From Python 3.12, no thread starts while the interpreter shuts down.
    with suppress(RuntimeError):
        last.start()
        last.join(FAREWELL)
    os._exit(code)
