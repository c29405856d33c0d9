"""Containment: what a step raises stays a failure of that step.

asyncio lets ``SystemExit`` and ``KeyboardInterrupt`` of any task out of the event loop, which ends the server; the
engine takes a ``CancelledError`` for its own and goes on waiting for the step; other exceptions that are no
``Exception`` end its loop without an end of the run. So a step's are turned into an ordinary exception inside the
step's own task, before asyncio or the engine sees them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CodeType
from typing import Any, NamedTuple, TypeVar

from workflow_server.errors import StepInterrupted
from workflow_server.execution.failures import message_of, told

T = TypeVar("T")

Rescue = Callable[[BaseException], Any]
"""Makes the result of a coroutine of what it raised, or returns None where the exception is to be raised."""


class Execution(NamedTuple):
    """The step that runs, and whose run it is."""

    handler_id: str
    step: str


executing: ContextVar[Execution | None] = ContextVar("executing", default=None)
"""The step that the caller runs in, or that the caller's task was spawned by."""

contained: ContextVar[object] = ContextVar("contained", default=None)
"""Set where the caller is a server or one of its runs, to who that is: nothing that its tasks raise may end the
process."""


def interrupted(error: BaseException) -> StepInterrupted:
    """The ordinary exception that stands for this one."""
    if isinstance(error, asyncio.CancelledError):
        said = message_of(error)
        by = f": {said}" if said else ""
        return StepInterrupted(f"CancelledError{by} (cancelled from within, not by the server)")
    return StepInterrupted(told(error))


async def contain(call: Callable[[], Awaitable[T]], execution: Execution, is_over: Callable[[], bool]) -> T:
    """Run a step. ``is_over`` tells whether the server ends what the step is part of: then it may be cancelled.

    Raises:
        StepInterrupted: the step raised what is no ``Exception``, or an exception that cannot be read.
    """
    task = asyncio.current_task()
    assert task is not None
    asked = task.cancelling()
    executing.set(execution)
    if isinstance(task, ServedTask):
        task.execution = execution
    try:
        result = await call()
        if task.cancelling() > asked and not is_over():
            # It asked for its own cancellation, which comes with the next suspension.
            await asyncio.sleep(0)
    except Exception as error:
        if message_of(error) is None:
            raise interrupted(error) from error
        raise
    except BaseException as error:
        if (isinstance(error, asyncio.CancelledError) and is_over()) or _running_task() is not task:
            # The server ends it, or Python throws away what is left of it.
            raise
        _take_back(task, asked)
        raise interrupted(error) from error
    if not is_over():
        _take_back(task, asked)
    return result


def contain_sync(call: Callable[[], T]) -> T:
    """Run a step that is no coroutine, in its thread.

    Raises:
        StepInterrupted: it raised what is no ``Exception``, or what cannot go through a future.
    """
    try:
        return call()
    except Exception as error:
        # A future refuses the first for good, and makes asyncio's own cancellation of the second.
        if isinstance(error, (StopIteration, concurrent.futures.CancelledError)) or message_of(error) is None:
            raise interrupted(error) from error
        raise
    except BaseException as error:
        raise interrupted(error) from error


def _take_back(task: asyncio.Task[Any], asked: int) -> None:
    """Let later waits of the task go on as if it had not been cancelled."""
    while task.cancelling() > asked:
        task.uncancel()


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class ContainedTask(Coroutine[Any, Any, Any]):
    """A coroutine that raises no exception that ends the event loop. ``rescue`` may make a result of others, too.

    A class instead of a coroutine around the coroutine: one that is cancelled before it began must close what is
    inside it, which never ran.
    """

    __slots__ = ("_inner", "_is_done", "_rescue", "execution", "owner")

    def __init__(self, inner: Any, owner: object, rescue: Rescue | None) -> None:
        self._inner = inner
        self._rescue = rescue
        self._is_done = False
        self.owner = owner
        self.execution = executing.get()
        """For the watch, which finds this object on the stack."""

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except StopIteration:
            if self._rescue is None or not _cancels_itself():
                raise
            # asyncio would take the cancellation for the end of the task: it is let come first, by one more turn.
            self._is_done = True
            return None
        except Exception:
            raise
        except BaseException as error:
            return self._ended(error)

    def throw(self, *thrown: Any) -> Any:
        if self._is_done:
            return self._ended(asyncio.CancelledError())
        try:
            return self._inner.throw(*thrown)
        except Exception:
            raise
        except BaseException as error:
            return self._ended(error)

    def close(self) -> None:
        self._inner.close()

    def _ended(self, error: BaseException) -> Any:
        result = self._rescue(error) if self._rescue is not None else None
        if result is not None:
            raise StopIteration(result)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise interrupted(error) from error
        raise error

    def __await__(self) -> Generator[Any, Any, Any]:
        result: Any = yield from self._inner.__await__()
        return result

    def __getattr__(self, name: str) -> Any:
        # Whoever looks at a task's coroutine, asyncio's own repr among them, sees the one inside.
        return getattr(self._inner, name)


def _cancels_itself() -> bool:
    task = _running_task()
    return isinstance(task, ServedTask) and task.cancelling() > 0 and not task.ended_by_maker


class ServedTask(asyncio.Task[Any]):
    """A task of the server or of a run. A step that cancels all tasks of the loop, as the clean-up of a library may do,
    reaches those of its own run alone."""

    execution: Execution | None = None
    """The step that it runs, or was spawned by."""
    ended_by_maker = False
    """The task that has made it has cancelled it: what it is part of is over."""
    _maker: weakref.ref[asyncio.Task[Any]] | None = None

    def made_by(self, maker: asyncio.Task[Any] | None) -> None:
        """Take note of the task that has made it."""
        self._maker = weakref.ref(maker) if maker is not None else None

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, unless a step asks that has no business with it."""
        asking = executing.get()
        if asking is not None and (self.execution is None or self.execution.handler_id != asking.handler_id):
            return False
        asker = _running_task()
        if asker is not None and self._maker is not None and self._maker() is asker:
            self.ended_by_maker = True
        return super().cancel(msg)


def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task as the server, whatever step the caller runs in."""
    within = executing.set(None)
    try:
        task.cancel()
    finally:
        executing.reset(within)


def is_cancelled(error: BaseException) -> bool:
    """Return whether this is the cancellation of the running task, and was not raised by the code of a value."""
    task = _running_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def tasks_of(owner: object) -> list[asyncio.Task[Any]]:
    """The contained tasks of this owner that have not ended, but for the caller's own."""
    current = asyncio.current_task()
    found: list[asyncio.Task[Any]] = []
    for task in asyncio.all_tasks():
        work = task.get_coro()
        if task is not current and isinstance(work, ContainedTask) and work.owner is owner:
            found.append(task)
    return found


class Done(Coroutine[Any, Any, None]):
    """A coroutine of which nothing is left to do; no task need be made of it."""

    def send(self, value: Any) -> Any:  # noqa: ARG002
        raise StopIteration

    def throw(self, *thrown: Any) -> Any:
        raise thrown[0]

    def close(self) -> None:
        """There is nothing to close."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


DONE = Done()


class NamedFuture(asyncio.Future[None]):
    """A future in the place of a task: Python 3.13.0 to 3.13.2 name whatever a task factory makes."""

    def set_name(self, value: object) -> None:
        """Take a name, as a task does, and forget it."""


_harmless: set[CodeType] = set()

Function = TypeVar("Function", bound=Callable[..., Coroutine[Any, Any, Any]])


def harmless(function: Function) -> Function:
    """Mark a coroutine function of the server's own that lets out nothing that ends the event loop: where many tasks
    are made of it, they need no containment."""
    _harmless.add(function.__code__)
    return function


class TaskContainment:
    """The task factory of an event loop on which a server runs: the server's tasks, its runs' and those that steps
    spawn are contained; tasks of others are made as before."""

    _of_loop: dict[asyncio.AbstractEventLoop, TaskContainment] = {}  # noqa: RUF012 one for each loop, whoever asks

    def __init__(self, loop: asyncio.AbstractEventLoop, rescue_of: Callable[[Any], Rescue | None]) -> None:
        self._loop = loop
        self._rescue_of = rescue_of
        self._previous = loop.get_task_factory()
        self._users = 0

    @classmethod
    def enter(cls, rescue_of: Callable[[Any], Rescue | None]) -> TaskContainment:
        """Contain what runs on the running loop, until ``leave`` was called as often.

        ``rescue_of`` gives the rescue of a coroutine that is not only to be kept from ending the loop.
        """
        loop = asyncio.get_running_loop()
        containment = cls._of_loop.get(loop)
        if containment is None:
            containment = cls._of_loop[loop] = cls(loop, rescue_of)
            loop.set_task_factory(containment._make)
        containment._users += 1
        return containment

    def leave(self) -> None:
        """Undo one ``enter``."""
        self._users -= 1
        if not self._users:
            del self._of_loop[self._loop]
            if self._loop.get_task_factory() == self._make:
                self._loop.set_task_factory(self._previous)

    def _make(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Future[Any]:
        if work is DONE:
            done = NamedFuture(loop=loop)
            done.set_result(None)
            return done
        if self._previous is None and getattr(work, "cr_code", None) in _harmless:
            plain = ServedTask(work, loop=loop, **options)
            plain.execution = executing.get()
            return plain
        context = options.get("context")
        owner = contained.get() if context is None else context.get(contained)
        if owner is None or not asyncio.iscoroutine(work):
            return self._made(loop, work, **options)
        contained_work = ContainedTask(work, owner, self._rescue_of(work))
        if self._previous is not None:
            return self._previous(loop, contained_work, **options)
        task = ServedTask(contained_work, loop=loop, **options)
        task.execution = contained_work.execution
        task.made_by(_running_task())
        return task

    def _made(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Future[Any]:
        if self._previous is not None:
            return self._previous(loop, work, **options)
        return asyncio.Task(work, loop=loop, **options)
