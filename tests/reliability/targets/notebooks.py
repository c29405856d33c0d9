"""Workflows that do nothing by themselves: whoever sends them events knows exactly what they have done.

The event that a step returns is published in the transition that records the step, so exactly once. Events that it
publishes on its way (``Working``) are published again when the step is interrupted and begins again.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.end_to_end.targets.marking import gate, mark


class Begin(StartEvent):
    """Opens a notebook."""

    label: str = ""


class Note(HumanResponseEvent):
    """Write this down."""

    number: int


class Ask(HumanResponseEvent):
    """Ask a question of this number, and wait for its answer."""

    number: int


class Answer(HumanResponseEvent):
    """The answer to the question of this number."""

    number: int
    text: str


class Hold(HumanResponseEvent):
    """Be in a step until the gate is opened."""

    number: int
    gate: str


class Finish(HumanResponseEvent):
    """Complete with all that was written down."""


class Fail(HumanResponseEvent):
    """Fail for this reason."""

    reason: str


class Working(Event):
    """A step is under way."""

    step: str
    number: int


class Opened(InputRequiredEvent):
    """The notebook is open; what stood in it already."""

    label: str
    pages: dict[str, Any]


class Kept(InputRequiredEvent):
    """A note was written down, as the so-many-th."""

    number: int
    place: int


class Question(InputRequiredEvent):
    """A question."""

    number: int


class Answered(InputRequiredEvent):
    """The answer was written down."""

    number: int
    text: str


class Held(InputRequiredEvent):
    """A step that waited at its gate is done."""

    number: int


class Pages(BaseModel):
    """The pages of a notebook."""

    runs: int = 0
    taken: list[int] = []
    answers: list[tuple[int, str]] = []
    held: list[int] = []


class Notebook(Workflow):
    """Writes down what it is sent, in order, until it is told to finish."""

    def __init__(self) -> None:
        # That ``ask`` names the answer lets it be sent before the question.
        super().__init__(timeout=None, skip_graph_checks={"dead_end", "terminal_event"})

    @step
    async def open(self, ctx: Context[Pages], ev: Begin) -> Opened:
        async with ctx.store.edit_state() as pages:
            before = pages.model_dump(mode="json")
            pages.runs += 1
        return Opened(label=ev.label, pages=before)

    @step(num_workers=1)
    async def take(self, ctx: Context[Pages], ev: Note) -> Kept:
        ctx.write_event_to_stream(Working(step="take", number=ev.number))
        async with ctx.store.edit_state() as pages:
            pages.taken.append(ev.number)
            place = len(pages.taken)
        return Kept(number=ev.number, place=place)

    @step
    async def ask(self, ctx: Context[Pages], ev: Ask) -> Answered | Answer:
        question, requirements = Question(number=ev.number), {"number": ev.number}
        answer = await ctx.wait_for_event(
            Answer, waiter_event=question, waiter_id=f"question-{ev.number}", requirements=requirements, timeout=None
        )
        async with ctx.store.edit_state() as pages:
            pages.answers.append((answer.number, answer.text))
        return Answered(number=answer.number, text=answer.text)

    @step
    async def hold(self, ctx: Context[Pages], ev: Hold) -> Held:
        mark("begin", "hold", ev.number)
        ctx.write_event_to_stream(Working(step="hold", number=ev.number))
        async with ctx.store.edit_state() as pages:
            pages.held.append(ev.number)
        await gate(ev.gate)
        return Held(number=ev.number)

    @step
    async def finish(self, ctx: Context[Pages], ev: Finish) -> StopEvent:
        pages = await ctx.store.get_state()
        return StopEvent(result=pages.model_dump(mode="json"))

    @step
    async def fail(self, ev: Fail) -> StopEvent:
        raise ValueError(ev.reason)


class Summand(StartEvent):
    """The number to add; nothing less than 0 is added."""

    number: Annotated[int, Field(le=1_000)]


class Totals(Workflow):
    """Adds its number to what the handler's runs before have added."""

    @step
    async def add(self, ctx: Context, ev: Summand) -> StopEvent:
        if ev.number < 0:
            raise ValueError(f"{ev.number} is less than 0")
        total = await ctx.store.get("total", default=0) + ev.number
        await ctx.store.set("total", total)
        return StopEvent(result=total)


notes = Notebook()
other_notes = Notebook()
totals = Totals(timeout=None)
