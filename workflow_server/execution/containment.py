"""Containment: tasks of runs that cannot end the process, nor cancel tasks of other runs.

asyncio lets ``SystemExit`` and ``KeyboardInterrupt`` of any task out of the event loop, which ends the server. The
engine mistakes a step's ``CancelledError`` for its own and waits for that step for ever. Any other exception that is
not an ``Exception`` ends the engine's loop without ending the run. All three are therefore turned into an ordinary
exception inside the step's own task, before asyncio or the engine sees them (``step_containment``).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CodeType
from typing import Any, NamedTuple, TypeVar

from workflow_server.errors import StepInterrupted
from workflow_server.execution.failures import message_of, told

Rescue = Callable[[BaseException], Any]
"""Returns the result that stands for what a coroutine raised, or None to let the exception through."""


class Execution(NamedTuple):
    """The running step, and the handler that its run belongs to."""

    handler_id: str
    step: str


executing: ContextVar[Execution | None] = ContextVar("executing", default=None)
"""The step that the caller runs in, or that spawned the caller's task."""

contained: ContextVar[object] = ContextVar("contained", default=None)
"""The server or run that the caller belongs to, None outside. Nothing that its tasks raise may end the process."""


def interrupted(error: BaseException) -> StepInterrupted:
    """Return the ordinary exception that stands for this one."""
    if isinstance(error, asyncio.CancelledError):
        said = message_of(error)
        by = f": {said}" if said else ""
        return StepInterrupted(f"CancelledError{by} (cancelled from within, not by the server)")
    return StepInterrupted(told(error))


def kept_within(error: SystemExit | KeyboardInterrupt) -> BaseException:
    """Return what is raised instead of an exception that asyncio would let out of the event loop: itself, where the
    caller belongs to neither a server nor a run."""
    return error if contained.get() is None else interrupted(error)


def running_task() -> asyncio.Task[Any] | None:
    """Return the running task; None outside of one, where asyncio may raise."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class ContainedTask(Coroutine[Any, Any, Any]):
    """A coroutine that never raises what would end the event loop. ``rescue`` may turn other exceptions into a result.

    A class rather than a wrapping coroutine: a task that is cancelled before it began must close the inner coroutine,
    and a wrapper that never ran could not.
    """

    __slots__ = ("_inner", "_is_done", "_rescue", "execution", "owner")

    def __init__(self, inner: Any, owner: object, rescue: Rescue | None) -> None:
        self._inner = inner
        self._rescue = rescue
        self._is_done = False
        self.owner = owner
        self.execution = executing.get()
        """Read by ``blocking``, which finds this object on the stack."""

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        except StopIteration:
            if self._rescue is None or not _cancels_itself():
                raise
            # asyncio would report a cancelled task although it has a result: let the cancellation arrive first.
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
        # Tools that look at a task's coroutine, such as asyncio's own repr, see the inner one.
        return getattr(self._inner, name)


def _cancels_itself() -> bool:
    task = running_task()
    return isinstance(task, ServedTask) and task.cancelling() > 0 and not task.ended_by_maker


class ServedTask(asyncio.Task[Any]):
    """A task of the server or of a run. A step that cancels all tasks of the loop, as a library's clean-up may do,
    cancels only those of its own run."""

    execution: Execution | None = None
    """The step that it runs, or that spawned it."""
    owner: object = None
    """The server or run that it belongs to, where it is not wrapped in a ``ContainedTask``."""
    ended_by_maker = False
    """Set when the task that created it has cancelled it: whatever it was part of is over."""
    _maker: weakref.ref[asyncio.Task[Any]] | None = None

    def made_by(self, maker: asyncio.Task[Any] | None) -> None:
        """Remember the task that created it."""
        self._maker = weakref.ref(maker) if maker is not None else None

    def cancel(self, msg: Any = None) -> bool:
        """Cancel it, unless the caller is a step of another run."""
        asking = executing.get()
        if asking is not None and (self.execution is None or self.execution.handler_id != asking.handler_id):
            return False
        asker = running_task()
        if asker is not None and self._maker is not None and self._maker() is asker:
            self.ended_by_maker = True
        return super().cancel(msg)


def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task on behalf of the server, even when the caller runs in a step."""
    within = executing.set(None)
    try:
        task.cancel()
    finally:
        executing.reset(within)


def is_cancelled(error: BaseException) -> bool:
    """Return whether the running task is really being cancelled; user code may raise a CancelledError by itself."""
    task = running_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def tasks_of(owner: object) -> list[asyncio.Task[Any]]:
    """Return the contained tasks of this owner that have not ended, except the caller's own."""
    current = asyncio.current_task()
    return [task for task in asyncio.all_tasks() if task is not current and _owner_of(task) is owner]


def _owner_of(task: asyncio.Task[Any]) -> object:
    work = task.get_coro()
    return work.owner if isinstance(work, ContainedTask) else task.owner if isinstance(task, ServedTask) else None


class Done(Coroutine[Any, Any, None]):
    """A coroutine that has already finished, so that no task is made of it."""

    def send(self, value: Any) -> Any:  # noqa: ARG002
        raise StopIteration

    def throw(self, *thrown: Any) -> Any:
        raise thrown[0]

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


DONE = Done()


class NamedFuture(asyncio.Future[None]):
    """A future in the place of a task: Python 3.13.0 to 3.13.2 name whatever a task factory makes."""

    def set_name(self, value: object) -> None:
        """Take a name, as a task does, and forget it."""


_harmless: dict[int, CodeType] = {}
"""By their identity, because Python computes the hash of a code object anew at each look."""

Function = TypeVar("Function", bound=Callable[..., Coroutine[Any, Any, Any]])
T = TypeVar("T")


def harmless(function: Function) -> Function:
    """Mark one of the server's own coroutine functions as never raising what would end the event loop.

    Tasks made of it are not wrapped, which matters where there are many of them.
    """
    _harmless[id(function.__code__)] = function.__code__
    return function


class TaskContainment:
    """The task factory of an event loop on which a server runs.

    It contains the tasks of the server, of its runs, and those that steps spawn. All others are made as before.
    """

    _of_loop: dict[asyncio.AbstractEventLoop, TaskContainment] = {}  # noqa: RUF012 one for each loop, whoever asks

    def __init__(self, loop: asyncio.AbstractEventLoop, rescue_of: Callable[[Any], Rescue | None]) -> None:
        self._loop = loop
        self._rescue_of = rescue_of
        self._previous = loop.get_task_factory()
        self._users = 0

    @classmethod
    def enter(cls, rescue_of: Callable[[Any], Rescue | None]) -> TaskContainment:
        """Contain the tasks of the running loop until ``leave`` has been called as often as this.

        ``rescue_of`` returns the rescue of a coroutine whose exceptions are to become a result, None for others.
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
        if self._previous is None and id(getattr(work, "cr_code", None)) in _harmless:
            plain = ServedTask(work, loop=loop, **options)
            plain.execution = executing.get()
            plain.owner = contained.get()
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
        task.made_by(running_task())
        return task

    def _made(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Future[Any]:
        if self._previous is not None:
            return self._previous(loop, work, **options)
        return asyncio.Task(work, loop=loop, **options)


async def in_served_task(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a task of the loop's factory, unless the caller's task is one.

    For tasks that a library makes past the factory: they cannot be protected themselves, but what they wait for can. A
    step that cancels such a task has asyncio deliver that once the work has ended, and the result is returned instead.
    """
    if isinstance(running_task(), ServedTask):
        return await work
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await task
    except asyncio.CancelledError:
        if task.done() and not task.cancelled():
            return task.result()
        raise
