"""Retries: when, how long after, how often, what the step knows of it; and the handlers of what fails for good."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import cast

from workflows import Context, Workflow, catch_error, step
from workflows.events import StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import (
    ConstantDelayRetryPolicy,
    ExponentialBackoffRetryPolicy,
    RetryPolicy,
    retry_all,
    retry_always,
    retry_any,
    retry_if_exception,
    retry_if_exception_cause_type,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_message,
    retry_if_not_exception_type,
    retry_never,
    retry_policy,
    retry_unless_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_full_jitter,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
)

from .sample import Begin, Done, Left, Part, Progress, Right, Sample, begin, crash_point

SOON = timedelta(milliseconds=10)


class Retried(Workflow):
    """Fails twice, with a delay, and tells what it knows of its failures; its writes of failed attempts count."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.02), stop=stop_after_attempt(5)))
    async def flaky(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        label = begin("flaky", info.retry_number)
        if info.last_failed_at is not None:
            assert datetime.now(UTC) >= info.last_failed_at + timedelta(seconds=0.0199), "the delay was not kept"
            assert info.elapsed_seconds >= 0.0199 * info.retry_number
        async with ctx.store.edit_state() as state:
            state["tries"] = state.get("tries", 0) + 1
        ctx.write_event_to_stream(Progress(by=label))
        await crash_point()
        if info.retry_number < 2:
            raise ConnectionError("not yet")
        told = [info.retry_number, type(info.last_exception).__name__, str(info.last_exception)]
        return StopEvent(result=[*told, await ctx.store.get("tries")])


class Policies(Workflow):
    """Tells after how many attempts a step succeeded or was given up."""

    @step
    async def split(self, ev: Begin) -> Part:
        begin("split")
        return Part(n=ev.size)

    @step
    async def done(self, ctx: Context, ev: Done) -> StopEvent:
        begin("done")
        return StopEvent(result=ev.n)

    @catch_error
    async def given_up(self, ev: StepFailedEvent) -> StopEvent:
        begin("given_up")
        return StopEvent(result=f"{ev.attempts}: {type(ev.exception).__name__}")


def trying(policy: RetryPolicy, error: Exception | None = None) -> type[Workflow]:
    """A workflow that fails with this error until its fourth attempt, under this policy."""
    failure = error if error is not None else ConnectionError("down")

    class Trying(Policies):
        @step(retry_policy=policy)
        async def attempt(self, ctx: Context, ev: Part) -> Done:
            number = ctx.retry_info().retry_number
            begin("attempt", number)
            if number < ev.n:
                raise failure
            return Done(n=number)

    return Trying


def caused() -> Exception:
    error = RuntimeError("wrapped")
    error.__cause__ = ConnectionError("down")
    return error


class FridayPolicy:
    """A policy as the documentation writes them: without the seed."""

    def next(self, elapsed_time: float, attempts: int, error: Exception) -> float | None:
        return 0.005 if attempts < 3 and elapsed_time < 3_600 and str(error) == "down" else None


class BrokenPolicy:
    """A policy that fails itself."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        raise LookupError("the policy is broken")


def deprecated(*, exponential: bool) -> RetryPolicy:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exponential:
            return ExponentialBackoffRetryPolicy(maximum_attempts=4, initial_delay=0.002, max_delay=0.01)
        return ConstantDelayRetryPolicy(maximum_attempts=4, delay=0.002)


class Aside(Workflow):
    """A retry that waits for its delay takes no worker from the others."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | None:
        begin("split")
        ctx.send_event(Part(n=0))
        ctx.send_event(Part(n=1))
        return None

    @step(num_workers=1, retry_policy=retry_policy(wait=wait_fixed(0.04), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: Part) -> StopEvent | None:
        attempt = ctx.retry_info().retry_number
        begin("work", f"{ev.n} {attempt}")
        async with ctx.store.edit_state() as state:
            state["order"] = [*state.get("order", []), [ev.n, attempt]]
        if ev.n == 0 and attempt == 0:
            raise ConnectionError("down")
        return StopEvent(result=await ctx.store.get("order")) if ev.n == 0 else None


class Resending(Workflow):
    """Events that an attempt sent before it failed have been sent: the next attempt sends again."""

    @step(retry_policy=retry_policy(wait=wait_none(), stop=stop_after_attempt(2)))
    async def send(self, ctx: Context, ev: StartEvent) -> Left | Right:
        attempt = ctx.retry_info().retry_number
        begin("send", attempt)
        ctx.send_event(Right(n=attempt))
        await crash_point()
        if attempt == 0:
            raise ConnectionError("down")
        return Left(n=1)

    @step(num_workers=1)
    async def gather(self, ctx: Context, ev: Right) -> Done | None:
        found = ctx.collect_events(ev, [Right, Right])
        return None if found is None else Done(n=2, found=[event.n for event in found])

    @step
    async def finish(self, sent: Left, gathered: Done) -> StopEvent:
        begin("finish")
        return StopEvent(result=gathered.found)


def tried(policy: RetryPolicy, expected: object, error: Exception | None = None) -> Sample:
    return Sample(trying(policy, error), expected)


FOUR = stop_after_attempt(4)
ONCE = "1: ConnectionError"
"""Not tried again."""

SAMPLES = {
    "retried": Sample(Retried, [2, "ConnectionError", "not yet", 3]),
    "wait_fixed": tried(retry_policy(wait=wait_fixed(SOON), stop=FOUR), 3),
    "wait_exponential": tried(retry_policy(wait=wait_exponential(0.002, max=SOON, min=0.001), stop=FOUR), 3),
    "wait_incrementing": tried(retry_policy(wait=wait_incrementing(0.002, 0.002, SOON), stop=FOUR), 3),
    "wait_chain": tried(retry_policy(wait=wait_chain(wait_none(), wait_fixed(0.005)), stop=FOUR), 3),
    "wait_combine": tried(retry_policy(wait=wait_combine(wait_fixed(0.002), wait_random(0, 0.002)), stop=FOUR), 3),
    "wait_sum": tried(retry_policy(wait=wait_fixed(0.002) + wait_fixed(0.002), stop=FOUR), 3),
    "wait_jitter": tried(retry_policy(wait=wait_exponential_jitter(0.002, max=0.01, jitter=0.002), stop=FOUR), 3),
    "wait_full_jitter": tried(retry_policy(wait=wait_full_jitter(0.002, max=SOON), stop=FOUR), 3),
    "wait_random_exponential": tried(retry_policy(wait=wait_random_exponential(0.002, max=SOON), stop=FOUR), 3),
    "retry_if_type": tried(
        retry_policy(retry_if_exception_type((TimeoutError, ConnectionError)), wait_none(), FOUR), 3
    ),
    "retry_if_not_type": tried(retry_policy(retry_if_not_exception_type(ConnectionError), wait_none(), FOUR), ONCE),
    "retry_unless_type": tried(retry_policy(retry_unless_exception_type(ValueError), wait_none(), FOUR), 3),
    "retry_if_message": tried(retry_policy(retry_if_exception_message(match="^do"), wait_none(), FOUR), 3),
    "retry_if_not_message": tried(
        retry_policy(retry_if_not_exception_message(message="down"), wait_none(), FOUR), ONCE
    ),
    "retry_if_cause": tried(
        retry_policy(retry_if_exception_cause_type(ConnectionError), wait_none(), FOUR), 3, caused()
    ),
    "retry_if": tried(retry_policy(retry_if_exception(lambda error: "up" in str(error)), wait_none(), FOUR), ONCE),
    "retry_any_all": tried(
        retry_policy(
            retry_any(retry_never(), retry_all(retry_always(), retry_if_exception_type(OSError)))
            | (retry_never() & retry_always()),
            wait_none(),
            FOUR,
        ),
        3,
    ),
    "stop_after_attempt": tried(retry_policy(wait=wait_none(), stop=stop_after_attempt(2)), "2: ConnectionError"),
    "stop_after_delay": tried(retry_policy(wait=wait_none(), stop=stop_after_delay(0)), ONCE),
    "stop_after_long": tried(retry_policy(wait=wait_none(), stop=stop_after_delay(3_600)), 3),
    "stop_before_delay": tried(retry_policy(wait=wait_fixed(5), stop=stop_before_delay(1)), ONCE),
    "stop_any_all": tried(
        retry_policy(
            wait=wait_none(),
            stop=stop_any(stop_after_attempt(3), stop_never()) | stop_all(stop_never(), FOUR) & stop_never(),
        ),
        "3: ConnectionError",
    ),
    "own_policy": tried(cast(RetryPolicy, FridayPolicy()), "3: ConnectionError"),
    "broken_policy": tried(BrokenPolicy(), "1: LookupError"),
    "constant_delay": tried(deprecated(exponential=False), 3),
    "exponential_backoff": tried(deprecated(exponential=True), 3),
    "retry_aside": Sample(Aside, [[0, 0], [1, 0], [0, 1]], side_by_side=True),
    "resent_by_retry": Sample(Resending, [0, 1], side_by_side=True),
}
