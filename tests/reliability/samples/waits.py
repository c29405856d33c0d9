"""Waits: questions to a human, returned or from inside a step, with requirements, timeouts and ids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from .sample import ANSWERED, Done, Part, Progress, Question, Reply, Sample, Send, begin, crash_point


class Returned(Workflow):
    """Returns its question; the answer goes to another step."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Question:
        begin("ask")
        await ctx.store.set("asked", True)
        return Question(about="q1")

    @step
    async def answer(self, ctx: Context, ev: Reply) -> StopEvent:
        begin("answer")
        await crash_point()
        return StopEvent(result=[ev.text, await ctx.store.get("asked")])


class General(Workflow):
    """The engine's own question and answer, with undeclared fields."""

    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        begin("ask")
        return InputRequiredEvent(prefix="a number: ")

    @step
    async def answer(self, ev: HumanResponseEvent) -> StopEvent:
        begin("answer")
        return StopEvent(result=ev.response)


def general(question: Mapping[str, Any]) -> Sequence[Send]:
    assert question["_data"] == {"prefix": "a number: "}
    return [Send(HumanResponseEvent(response="42"))]


class Waiting(Workflow):
    """Waits inside a step, which is run again from its start; what it published before is published again."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        label = begin("ask")
        async with ctx.store.edit_state() as state:
            state["turns"] = state.get("turns", 0) + 1
        ctx.write_event_to_stream(Progress(by=label))
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"))
        await crash_point()
        return StopEvent(result=[reply.text, await ctx.store.get("turns")])


class Asking(Workflow):
    """Asks two questions, side by side, and takes only the answer to each."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=1), Part(n=2)]

    @step
    async def ask(self, ctx: Context, ev: Part) -> Done:
        about = f"q{ev.n}"
        begin("ask", ev.n)
        reply = await ctx.wait_for_event(
            Reply, waiter_event=Question(about=about), waiter_id=about, requirements={"about": about}
        )
        await ctx.store.set(about, reply.text)
        return Done(n=ev.n)

    @step
    async def gather(self, ctx: Context, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=[await ctx.store.get("q1"), await ctx.store.get("q2")])


class Dialogue(Workflow):
    """One step waits for one answer after the other: the first is remembered while it waits for the second."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begin("ask")
        answers = [await self._ask(ctx, about) for about in ("q1", "q2")]
        await crash_point()
        return StopEvent(result=answers)

    async def _ask(self, ctx: Context, about: str) -> str:
        waiter = Question(about=about)
        requirements = {"about": about}
        return (await ctx.wait_for_event(Reply, waiter, about, requirements, timeout=None)).text


class Choosy(Workflow):
    """Answers that do not meet the requirements leave the wait as it is."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begin("ask")
        reply = await ctx.wait_for_event(
            Reply, waiter_event=Question(about="q1"), requirements={"about": "q1", "text": "yes"}
        )
        return StopEvent(result=[reply.about, reply.text])


def no_then_yes(question: Mapping[str, Any]) -> Sequence[Send]:
    return [
        Send(Reply(about="q2", text="yes")),
        Send(Reply(about="q1", text="no")),
        Send(Reply(about="q1", text="yes")),
    ]


class Unnamed(Workflow):
    """Waits without ids: each work item has its own, and one event without requirements answers them all."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=1), Part(n=2)]

    @step
    async def ask(self, ctx: Context, ev: Part) -> Done:
        begin("ask", ev.n)
        reply = await ctx.wait_for_event(Reply)
        return Done(n=ev.n * len(reply.text))

    @step
    async def gather(self, parts: list[Done]) -> StopEvent:
        begin("gather")
        return StopEvent(result=sorted(part.n for part in parts))


class CollectedWait(Workflow):
    """A step that collected a list waits, and still has its list when the answer comes."""

    @step
    async def split(self, ev: StartEvent) -> list[Part]:
        begin("split")
        return [Part(n=1), Part(n=2)]

    @step
    async def gather(self, ctx: Context, parts: list[Part]) -> StopEvent:
        begin("gather")
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"))
        return StopEvent(result=[[part.n for part in parts], reply.text])


class BoundWait(Workflow):
    """A step of two event parameters waits, and still has both."""

    @step
    async def one(self, ev: StartEvent) -> Part:
        begin("one")
        return Part(n=1)

    @step
    async def other(self, ev: StartEvent) -> Done:
        begin("other")
        return Done(n=2)

    @step
    async def both(self, ctx: Context, part: Part, done: Done) -> StopEvent:
        begin("both")
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"))
        return StopEvent(result=[part.n, done.n, reply.text])


class Overdue(Workflow):
    """Waits for what does not come, until then and not less."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begin("ask")
        asked_at = await ctx.store.get("asked_at", None) or time.time()
        await ctx.store.set("asked_at", asked_at)
        try:
            await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"), timeout=0.05)
        except TimeoutError:
            assert time.time() >= asked_at + 0.05, "it did not wait long enough"
            return StopEvent(result="nobody answered")
        return StopEvent(result="answered")


class ThenAnswered(Workflow):
    """One wait ends by its timeout, the next by an answer."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        begin("ask")
        try:
            await ctx.wait_for_event(Reply, waiter_id="first", requirements={"about": "q1"}, timeout=0.03)
            first = "answered"
        except TimeoutError:
            first = "overdue"
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q2"), waiter_id="second")
        return StopEvent(result=[first, reply.text])


class InTime(Workflow):
    """An answer that comes in time disarms the timeout; what comes later is taken by nobody."""

    def __init__(self) -> None:
        super().__init__(skip_graph_checks={"terminal_event", "dead_end"})

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> Part:
        begin("ask")
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"), timeout=3_600)
        return Part(n=len(reply.text))

    @step
    async def rest(self, ctx: Context, ev: Part) -> StopEvent | Reply:
        waits = Progress(by=begin("rest"))
        done = await ctx.wait_for_event(Done, waiter_event=waits)
        return StopEvent(result=[ev.n, done.n])


def again(progress: Mapping[str, Any]) -> Sequence[Send]:
    return [Send(Reply(about="q1", text="again"))]


class OwnInput(Workflow):
    """A step that waits for what it also accepts: the wait takes it, and it begins nothing anew."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent | Reply) -> StopEvent:
        begin("ask", type(ev).__name__)
        reply = await ctx.wait_for_event(Reply, waiter_event=Question(about="q1"))
        return StopEvent(result=[type(ev).__name__, reply.text])


class AskAround(Workflow):
    """While one step waits another works, and answers it from inside."""

    def __init__(self) -> None:
        super().__init__(skip_graph_checks={"terminal_event", "dead_end"})

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | Done:
        begin("split")
        ctx.send_event(Done(n=1))
        return Part(n=1)

    @step
    async def ask(self, ctx: Context, ev: Part) -> StopEvent:
        begin("ask")
        reply = await ctx.wait_for_event(Reply, waiter_id="inside")
        return StopEvent(result=reply.text)

    @step
    async def work(self, ctx: Context, ev: Done) -> Reply | None:
        begin("work")
        await asyncio.sleep(0.02)
        return Reply(about="inside", text="from inside")


SAMPLES = {
    "returned": Sample(Returned, ["a1", True], reactions=ANSWERED),
    "general_question": Sample(General, "42", reactions={"InputRequiredEvent": general}),
    "waiting": Sample(Waiting, ["a1", 2], reactions=ANSWERED),
    "asking": Sample(Asking, ["a1", "a2"], reactions=ANSWERED, side_by_side=True),
    "dialogue": Sample(Dialogue, ["a1", "a2"], reactions=ANSWERED),
    "choosy": Sample(Choosy, ["q1", "yes"], reactions={"Question": no_then_yes}),
    "unnamed_waits": Sample(
        Unnamed,
        [2, 4],
        reactions={"WorkflowIdleEvent": lambda _: [Send(Reply(about="x", text="ok"))]},
        side_by_side=True,
    ),
    "collected_wait": Sample(CollectedWait, [[1, 2], "a1"], reactions=ANSWERED),
    "bound_wait": Sample(BoundWait, [1, 2, "a1"], reactions=ANSWERED, side_by_side=True),
    "overdue": Sample(Overdue, "nobody answered"),
    "overdue_then_answered": Sample(ThenAnswered, ["overdue", "a2"], reactions=ANSWERED),
    "answered_in_time": Sample(
        InTime,
        [2, 7],
        reactions={**ANSWERED, "Progress": again, "UnhandledEvent": lambda _: [Send(Done(n=7))]},
    ),
    "waits_for_own_input": Sample(OwnInput, ["StartEvent", "a1"], reactions=ANSWERED),
    "answered_from_inside": Sample(AskAround, "from inside", side_by_side=True),
}
