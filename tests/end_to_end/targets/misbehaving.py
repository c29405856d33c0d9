"""Steps that raise whatever Python has, from every place that a user's code runs in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import field_serializer
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, StartEvent, StepFailedEvent, StopEvent
from workflows.resource import Resource
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed


class Odd(BaseException):
    """An exception that is no ``Exception``."""


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise SystemExit(4)


class Unsendable(Event):
    """An event whose own code exits when it is written."""

    value: int = 0

    @field_serializer("value")
    def exits(self, value: int) -> int:
        """Exit."""
        sys.exit(value)


class Inner(Workflow):
    """A nested run whose step ends as it is told."""

    @step
    async def inside(self, ev: StartEvent) -> StopEvent:
        """Raise in the nested run."""
        await KINDS[str(ev.get("kind"))]()
        return StopEvent()


INNER = Inner(timeout=None)


async def raise_(error: BaseException) -> None:
    """Raise it."""
    raise error


async def await_cancelled_task() -> None:
    """A library has cancelled what the step waits for."""
    task = asyncio.create_task(asyncio.sleep(100), name="of a library")
    await asyncio.sleep(0)
    task.cancel()
    await task


async def await_cancelled_future() -> None:
    """As above, with a future."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def own_task() -> asyncio.Task[Any]:
    """The step's own task."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def cancel_itself() -> None:
    """The step cancels its own task."""
    own_task().cancel()
    await asyncio.sleep(1)


async def cancel_itself_and_return() -> None:
    """As above, and does not wait again."""
    own_task().cancel("late")


async def be_cancelled_by_a_callback() -> None:
    """Something that knows the step's task cancels it from outside."""
    asyncio.get_running_loop().call_soon(own_task().cancel)
    await asyncio.sleep(100)


async def group_of_tasks(error: BaseException) -> None:
    """One task of a group fails."""
    async with asyncio.TaskGroup() as group:
        group.create_task(raise_(error), name="of a group")
        group.create_task(asyncio.sleep(100), name="its sibling")


async def gather(error: BaseException) -> None:
    """One of several coroutines fails."""
    await asyncio.gather(raise_(error), asyncio.sleep(0.01))


async def leave_a_task_behind() -> None:
    """A task that nobody awaits exits while the step goes on."""
    task = asyncio.create_task(raise_(SystemExit(9)), name="left behind")
    await asyncio.wait([task])
    assert task.exception() is not None


async def wait_in_a_thread() -> None:
    """The thread waits for what was cancelled."""
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.cancel()
    await asyncio.to_thread(future.result)


async def cancel_everything() -> None:
    """Clean up as some programs do before they end."""
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(1)


KINDS: dict[str, Callable[[], Awaitable[Any]]] = {
    "cancelled": lambda: raise_(asyncio.CancelledError("by a library")),
    "cancelled_task": await_cancelled_task,
    "cancelled_future": await_cancelled_future,
    "cancels_itself": cancel_itself,
    "cancels_itself_and_returns": cancel_itself_and_return,
    "cancelled_by_callback": be_cancelled_by_a_callback,
    "cancels_everything": cancel_everything,
    "generator_exit": lambda: raise_(GeneratorExit()),
    "exit": lambda: raise_(SystemExit(3)),
    "keyboard": lambda: raise_(KeyboardInterrupt()),
    "odd": lambda: raise_(Odd("odd")),
    "mute": lambda: raise_(Mute()),
    "group": lambda: raise_(BaseExceptionGroup("several", [SystemExit(3), ValueError("bad\nvalue")])),
    "thread": lambda: asyncio.to_thread(sys.exit, 3),
    "thread_cancelled": wait_in_a_thread,
    "task_group": lambda: group_of_tasks(SystemExit(3)),
    "task_group_odd": lambda: group_of_tasks(Odd("odd")),
    "task_group_generator_exit": lambda: group_of_tasks(GeneratorExit()),
    "gather": lambda: gather(KeyboardInterrupt()),
    "nested_exit": lambda: INNER.run(kind="exit"),
    "nested_cancelled": lambda: INNER.run(kind="cancelled"),
    "nested_odd": lambda: INNER.run(kind="odd"),
    "nested_thread": lambda: INNER.run(kind="thread"),
    "nested_cancels_itself": lambda: INNER.run(kind="cancels_itself"),
    "nested_cancels_itself_and_returns": lambda: INNER.run(kind="cancels_itself_and_returns"),
    "nested_cancelled_by_callback": lambda: INNER.run(kind="cancelled_by_callback"),
    "nested_generator_exit": lambda: Inner(timeout=None).run(kind="generator_exit"),
}


class Raises(Workflow):
    """One step that ends as it is told."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        """Raise."""
        await KINDS[str(ev.get("kind"))]()
        return StopEvent(result="went on")


class Rescued(Workflow):
    """As above; tried twice, then handled."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0), stop=stop_after_attempt(2)))
    async def go(self, ctx: Context, ev: StartEvent) -> StopEvent:
        """Raise."""
        await ctx.store.set("tries", await ctx.store.get("tries", default=0) + 1)
        await KINDS[str(ev.get("kind"))]()
        return StopEvent(result="went on")

    @catch_error
    async def handle(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        """Tell what was caught."""
        tries = await ctx.store.get("tries", default=0)
        return StopEvent(result=f"{ev.step_name}, {tries} tries: {ev.exception}")


class FailingHandler(Workflow):
    """A step that fails, and a handler of errors that exits."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        """Fail."""
        raise ValueError("first")

    @catch_error
    async def handle(self, ev: StepFailedEvent) -> StopEvent:
        """Exit."""
        sys.exit(6)


class InThread(Workflow):
    """A synchronous step."""

    @step
    def go(self, ev: StartEvent) -> StopEvent:
        """Raise, in a thread."""
        kind = ev.get("kind")
        if kind == "exit":
            sys.exit(3)
        if kind == "stop_iteration":
            next(iter(()))
        if kind == "cancelled":
            raise concurrent.futures.CancelledError
        raise asyncio.CancelledError


def exiting() -> int:
    """A resource's factory that exits."""
    sys.exit(5)


class NoResource(Workflow):
    """A step whose resource cannot be made."""

    @step
    async def go(self, ev: StartEvent, made: Annotated[int, Resource(exiting)]) -> StopEvent:
        """Run where the event was not published."""
        return StopEvent(result=made)


class ExitingPolicy:
    """A retry policy that exits."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, seed: int | None = None) -> float | None:
        """Exit."""
        sys.exit(7)


class NoPolicy(Workflow):
    """A step whose retry policy exits."""

    @step(retry_policy=ExitingPolicy())
    async def go(self, ev: StartEvent) -> StopEvent:
        """Fail."""
        raise ValueError("first")


class Unwritten(Workflow):
    """A step whose event's own code exits when it is written."""

    @step
    async def go(self, ctx: Context, ev: StartEvent) -> Unsendable:
        """Publish it, or return it."""
        if ev.get("kind") == "published":
            ctx.write_event_to_stream(Unsendable())
            await asyncio.sleep(100)
        return Unsendable()

    @step
    async def end(self, ev: Unsendable) -> StopEvent:
        """Run where the event was not published."""
        return StopEvent()


class Reads(Workflow):
    """A step that fails as most do."""

    @step
    async def read_row(self, ev: StartEvent) -> StopEvent:
        """Look for what is not there."""
        if message := ev.get("message"):
            raise ValueError(message)
        return StopEvent(result={"name": "x"}["customer"])


class LeavesBehind(Workflow):
    """A task that nobody awaits exits while its step goes on."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        """Go on."""
        await leave_a_task_behind()
        return StopEvent()


class OnLoop(Workflow):
    """A step that does to the event loop what ends a program."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        """Exit in a callback, or stop the loop."""
        loop = asyncio.get_running_loop()
        if ev.get("kind") == "stop":
            loop.stop()
        else:
            loop.call_soon(sys.exit, 8)
        await asyncio.sleep(0.01)
        return StopEvent()


class InBackground(Workflow):
    """A task and a thread that fail, and that nobody awaits."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        """Let them fail."""
        error = ValueError(ev.get("message"))

        def fail() -> None:
            raise error

        thread = threading.Thread(target=fail, name="of a step")
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.wait([asyncio.create_task(raise_(error), name="left alone")])
        gc.collect()
        return StopEvent()


raises = Raises(timeout=None)
leaves_behind = LeavesBehind(timeout=None)
loop = OnLoop(timeout=None)
in_background = InBackground(timeout=None)
rescued = Rescued(timeout=None)
failing_handler = FailingHandler(timeout=None)
in_thread = InThread(timeout=None)
no_resource = NoResource(timeout=None)
no_policy = NoPolicy(timeout=None)
unwritten = Unwritten(timeout=None)
reads = Reads(timeout=None)
