"""An event loop whose tasks can be cancelled at each point at which any of them gives the loop back.

While an ``InstrumentedLoop`` is entered, every new task runs its coroutine through a ``Stepped`` one, which sees each
suspension of it as the loop does: the coroutine has just yielded what it waits for, and nothing else has run since.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from contextvars import Context
from types import TracebackType
from typing import Any, NamedTuple, Self

LIMIT = 30.0
"""Seconds after which an operation that does not end is called lost."""

CLEAN_UPS = 3
"""Number of times that ``Moment.AGAIN`` cancels an operation that is cleaning up."""


class Moment(enum.Enum):
    """The moments, at its point, at which an operation is cancelled."""

    AT_ONCE = "before anything else runs"
    WITH_ANSWER = "when what is awaited at the point is done, and who awaits it was not woken yet"
    AGAIN = "at once, and again each time that it suspends to clean up"
    LATER = "some microseconds later, while other threads are on their way"


class Point(NamedTuple):
    """A point of an operation: its ``number``-th own suspension, or that of any task of the loop; 0 is its start."""

    number: int
    moment: Moment
    own: bool = True
    delay: float = 0.0


class Outcome(NamedTuple):
    """The end of an operation. ``began``: any of it ran; ``passed``: it was under way at its point; ``reached``: it was
    cancelled before it had ended."""

    point: Point
    began: bool
    passed: bool
    reached: bool
    cancelled: bool
    answer: Any
    error: BaseException | None


class Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that tells of each of its suspensions what it waits for."""

    def __init__(self, work: Coroutine[Any, Any, Any], suspended: Callable[[Any], None]) -> None:
        self._work = work
        self._suspended = suspended
        self.began = False

    def send(self, value: Any) -> Any:
        self.began = True
        awaited = self._work.send(value)
        self._suspended(awaited)
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._work.throw(*error)
        self._suspended(awaited)
        return awaited

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()


class InstrumentedLoop:
    """The running loop, while entered."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._victim: asyncio.Task[Any] | None = None
        self._point = Point(0, Moment.AT_ONCE)
        self._passed = 0
        self._hits = 0
        self._driver = asyncio.current_task()

    def __enter__(self) -> Self:
        self._loop.set_task_factory(self._make)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.set_task_factory(None)

    async def cancel(self, work: Coroutine[Any, Any, Any], point: Point) -> Outcome:
        """Do the work and cancel it at its point; it has to end, and, where it was cancelled, by that.

        Raises:
            AssertionError: it did not end, or swallowed its cancellation.
        """
        self._point, self._passed, self._hits = point, 0, 0
        victim = self._victim = asyncio.create_task(work, name="victim")
        if point.number == 0:
            self._hit(victim)
        done, _ = await asyncio.wait([victim], timeout=LIMIT)
        self._victim = None
        if not done:
            for task in asyncio.all_tasks():
                task.print_stack()
            raise AssertionError(f"the operation did not end after it was cancelled at {point}")
        outcome = self._outcome_of(victim)
        assert not outcome.reached or outcome.cancelled, f"the cancellation at {point} was swallowed: {outcome}"
        return outcome

    def _outcome_of(self, victim: asyncio.Task[Any]) -> Outcome:
        coroutine = victim.get_coro()
        assert isinstance(coroutine, Stepped)
        passed, reached = self._passed >= self._point.number, self._hits > 0
        if victim.cancelled():
            return Outcome(self._point, coroutine.began, passed, reached, True, None, None)
        error = victim.exception()
        answer = None if error else victim.result()
        return Outcome(self._point, coroutine.began, passed, reached, False, answer, error)

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, *, context: Context | None = None) -> asyncio.Task[Any]:
        return asyncio.Task(Stepped(work, self._suspended), loop=loop, context=context)

    def _suspended(self, awaited: Any) -> None:
        victim, point = self._victim, self._point
        if victim is None or victim.done():
            return
        own = asyncio.current_task() is victim
        if own and self._hits and point.moment is Moment.AGAIN and self._hits <= CLEAN_UPS:
            self._hit(victim)
        if own or not point.own:
            self._passed += 1
            if self._passed == point.number:
                self._cancel_at_point(victim, awaited)

    def _cancel_at_point(self, victim: asyncio.Task[Any], awaited: Any) -> None:
        match self._point.moment:
            case Moment.WITH_ANSWER if asyncio.isfuture(awaited):
                # Before the task itself is told of the answer: it adds its own callback after this.
                awaited.add_done_callback(lambda _: self._hit(victim))
            case Moment.WITH_ANSWER:
                self._loop.call_soon(self._hit, victim)
            case Moment.LATER:
                self._loop.call_later(self._point.delay, self._hit, victim)
            case Moment.AT_ONCE | Moment.AGAIN:
                self._hit(victim)

    def _hit(self, victim: asyncio.Task[Any]) -> None:
        if victim is self._victim and victim.cancel():
            self._hits += 1


async def at_every_point(
    once: Callable[[Point], Awaitable[Outcome]],
    chance: random.Random,
    *,
    rounds: int = 1,
    stride: int = 1,
    moments: Iterable[Moment] = tuple(Moment),
) -> int:
    """Let ``once`` cancel an operation at each of its own points and, ``stride`` by ``stride``, at each of the loop's,
    at each of the moments; returns how often it was cancelled."""
    cancelled = 0
    for _ in range(rounds):
        for own in (True, False):
            for moment in moments:
                number, passed = 0, True
                while passed:
                    delay = chance.uniform(0.0, 0.003) if moment is Moment.LATER else 0.0
                    outcome = await once(Point(number, moment, own, delay))
                    cancelled += outcome.reached
                    passed = outcome.passed
                    number += 1 if own else chance.randint(1, 2 * stride - 1)
    return cancelled


async def ended_tasks(before: set[asyncio.Task[Any]]) -> None:
    """Return when no task is left but those of before and the caller's own.

    Raises:
        AssertionError: one is left, and does not end.
    """
    async with asyncio.timeout(LIMIT):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            _, pending = await asyncio.wait(left, timeout=LIMIT)
            assert not pending, f"tasks are left: {pending}"
