"""The watch over the event loop: it names in the log the step that is blocking it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from types import FrameType
from typing import NamedTuple

from workflow_server.execution.containment import ContainedTask, Execution
from workflow_server.execution.failures import indented, is_machinery
from workflow_server.execution.step_containment import contain
from workflow_server.execution.sums import Lags

logger = logging.getLogger(__name__)

TOO_LONG = 1.0
"""Seconds for which a step may block the event loop before it is logged."""
LOOKS = 0.25
"""Seconds between two looks at the loop."""
INTERVAL = 60.0
"""Minimum seconds between two log records about the same step."""
FRAMES = 20
"""Maximum number of frames of the stack that are logged, the innermost."""


class _Blocking(NamedTuple):
    """A step found on the loop's stack while the loop did not respond."""

    frame: FrameType
    execution: Execution
    since: float


class LoopWatch:
    """A thread that checks whether the event loop responds. It costs the loop one callback a look.

    A step is named only if the same execution of it was on the stack at every look for ``TOO_LONG`` seconds: a loop
    that is merely busy blames nobody.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self.lag = Lags()
        """The time that the loop took to respond at each look."""
        self._turned = threading.Event()
        self._stopped = threading.Event()
        self._named: dict[str, float] = {}
        self._looked_at = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="loop watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; it ends within ``LOOKS`` seconds."""
        self._stopped.set()

    def _watch(self) -> None:
        blocking: _Blocking | None = None
        self._turned.set()
        while not self._stopped.wait(LOOKS):
            turned = self._turned.is_set()
            if not turned or time.monotonic() - self._looked_at >= TOO_LONG:
                # The loop does not respond, or this thread did not run, because something holds the interpreter's lock.
                blocking = self._look(blocking)
                if blocking is not None and time.monotonic() - blocking.since >= TOO_LONG:
                    self._name(blocking)
            if turned:
                blocking = None
                self._turned.clear()
                try:
                    self._loop.call_soon_threadsafe(self._respond, time.monotonic())
                except RuntimeError:
                    # The loop was closed without stopping the server.
                    return
            self._looked_at = time.monotonic()

    def _respond(self, asked: float) -> None:
        self._turned.set()
        self.lag.add(time.monotonic() - asked)

    def _look(self, before: _Blocking | None) -> _Blocking | None:
        frame = sys._current_frames().get(self._loop_thread)
        while frame is not None:
            execution = _execution_of(frame)
            if execution is not None:
                if before is not None and before.frame is frame:
                    return before
                # The step began after the last look; that was long ago only if the step kept this thread from running.
                return _Blocking(frame, execution, self._looked_at)
            frame = frame.f_back
        return None

    def _name(self, blocking: _Blocking) -> None:
        now = time.monotonic()
        if now - self._named.get(blocking.execution.step, -INTERVAL) < INTERVAL:
            return
        self._named[blocking.execution.step] = now
        stack = _user_stack(sys._current_frames().get(self._loop_thread))
        logger.warning(
            "Step %s of handler %s has blocked the event loop for %.1f s, and with it all other work. Await in it,"
            " or run slow calls with asyncio.to_thread.\n%s",
            blocking.execution.step,
            blocking.execution.handler_id,
            now - blocking.since,
            indented("\n".join(stack)),
            extra={"handler_id": blocking.execution.handler_id, "step": blocking.execution.step},
        )


def _execution_of(frame: FrameType) -> Execution | None:
    """Return the step that this frame contains, None for any other frame."""
    if frame.f_code is contain.__code__:
        execution = frame.f_locals.get("execution")
        return execution if isinstance(execution, Execution) else None
    if frame.f_code is ContainedTask.send.__code__:
        task = frame.f_locals.get("self")
        return task.execution if isinstance(task, ContainedTask) else None
    return None


def _user_stack(frame: FrameType | None) -> list[str]:
    """Return the stack from the step inwards, without the frames of the server and the engine."""
    if frame is None:
        return []
    within: list[tuple[FrameType, int]] = []
    for inner, line in traceback.walk_stack(frame):
        if inner.f_code in (contain.__code__, ContainedTask.send.__code__):
            break
        within.append((inner, line))
    kept = [entry for entry in reversed(within) if not is_machinery(entry[0].f_code.co_filename)]
    summary = traceback.StackSummary.extract(iter(kept[-FRAMES:]))
    return [line for entry in summary.format() for line in entry.splitlines()]
