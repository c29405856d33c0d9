"""Workflows whose meaning is time: waits, retries and timeouts; and a yardstick to compare them with."""

from __future__ import annotations

from workflows import Context, Workflow, step
from workflows.events import Event, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import gate, mark, side_effect

RETRY_DELAY = 7.0


class Question(InputRequiredEvent):
    """Published when a wait begins."""

    number: int


class Answer(Event):
    """The event that a wait is for."""

    number: int
    text: str = ""


class Waits(Workflow):
    """Waits for the answer to its number, for ``seconds`` (0: as long as it takes)."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        number, seconds = ev.get("number"), ev.get("seconds", 0)
        try:
            answer = await ctx.wait_for_event(
                Answer,
                waiter_event=Question(number=number),
                requirements={"number": number},
                timeout=seconds or None,
            )
        except TimeoutError:
            mark("timed-out", "ask", number)
            return StopEvent(result="timed out")
        with side_effect("ask", number):
            return StopEvent(result=answer.text)


class Retries(Workflow):
    """Fails once; the delay before the second attempt is long enough to die in."""

    @step(retry_policy=retry_policy(wait=wait_fixed(RETRY_DELAY), stop=stop_after_attempt(3)))
    async def flaky(self, ctx: Context, ev: StartEvent) -> StopEvent:
        info = ctx.retry_info()
        mark("begin", "flaky", info.retry_number)
        if info.retry_number < 1:
            mark("failed", "flaky", info.retry_number)
            raise ConnectionError(f"failure {info.retry_number}")
        reason = None if info.last_exception is None else str(info.last_exception)
        kept = info.last_failed_at is not None and info.elapsed_seconds >= RETRY_DELAY
        return StopEvent(result=[info.retry_number, reason, kept])


class NeverDone(Workflow):
    """Sits at a gate that nobody opens."""

    @step
    async def sit(self, ev: StartEvent) -> StopEvent:
        mark("begin", "sit")
        await gate("never")
        return StopEvent()


waits = Waits(timeout=None)
retries = Retries(timeout=None)
alive_for_twelve_seconds = NeverDone(timeout=12.0)
alive_for_three_seconds = Waits(timeout=3.0)
