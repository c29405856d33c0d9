"""The workflows of the tests of the page: what its views have to show, each in one workflow.

Where a start event has a ``gate``, a step waits there until the test opens it: ``server.ledger.open("name")``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from tests.end_to_end.targets.marking import gate
from tests.page.forms import form
from tests.page.hostile import hostile
from tests.page.wide import forty

__all__ = ["ask", "chain", "failing", "fan_out", "form", "forty", "hostile", "loop", "pay", "recovering"]


async def hold(name: str) -> None:
    """Wait until the test opens this gate; an empty name is no gate."""
    if name:
        await gate(name)


# -- Steps in a row -------------------------------------------------------------------------------


class Document(StartEvent):
    """A text to work on."""

    text: str = "Once upon a time"
    gate: str = ""


class Parsed(Event):
    """The words of a text."""

    words: list[str]
    gate: str


class Counted(Event):
    """The number of times that each word comes."""

    counts: dict[str, int]


class Summary(StopEvent):
    """The most frequent word."""

    word: str
    times: int


class Chain(Workflow):
    """Three steps in a row; the second waits at the gate."""

    @step
    async def parse(self, ctx: Context, ev: Document) -> Parsed:
        """Split the text into words."""
        async with ctx.store.edit_state() as state:
            state.title, state.api_key = ev.text[:20], "sk-secret"
        parsed = Parsed(words=ev.text.split(), gate=ev.gate)
        ctx.write_event_to_stream(parsed)
        return parsed

    @step
    async def count(self, ctx: Context, ev: Parsed) -> Counted:
        """Count the words."""
        await hold(ev.gate)
        counted = Counted(counts={word: ev.words.count(word) for word in ev.words})
        ctx.write_event_to_stream(counted)
        return counted

    @step
    async def summarise(self, ev: Counted) -> Summary:
        """Take the most frequent."""
        word = max(ev.counts, key=lambda each: ev.counts[each])
        return Summary(word=word, times=ev.counts[word])


# -- Steps side by side, and attempts --------------------------------------------------------------


class Batch(StartEvent):
    """Items to work on, four at a time; every fifth fails at its first attempt, and is tried again."""

    count: int = Field(20, ge=1, le=100_000, description="Number of items.")
    pause: float = Field(0.0, description="Seconds between two attempts.")
    gate: str = Field("", description="The gate at which the last item waits.")


class Item(Event):
    """One item of a batch."""

    number: int
    gate: str = ""


class ItemDone(Event):
    """An item that is done, and the attempts that it took."""

    number: int
    attempts: int


class FanOut(Workflow):
    """Work on all items, and join them."""

    @step
    async def split(self, ev: Batch) -> list[Item]:
        """Make the items."""
        return [Item(number=n, gate=ev.gate if n == ev.count - 1 else "") for n in range(ev.count)]

    @step(num_workers=4, retry_policy=retry_policy(wait=wait_fixed(0.05), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: Item) -> ItemDone:
        """Work on one, which may fail."""
        retries = ctx.retry_info().retry_number
        if ev.number % 5 == 3 and retries == 0:
            raise ConnectionError(f"the gateway dropped item {ev.number}")
        await hold(ev.gate)
        done = ItemDone(number=ev.number, attempts=retries + 1)
        ctx.write_event_to_stream(done)
        return done

    @step
    async def join(self, ev: list[ItemDone]) -> StopEvent:
        """Count the attempts."""
        return StopEvent(result={"count": len(ev), "attempts": sum(each.attempts for each in ev)})


class Lookup(StartEvent):
    """A document to find, which is not there."""

    name: str = "invoice-7.pdf"


class Failing(Workflow):
    """One step that fails at each of three attempts, and the run with it."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.05), stop=stop_after_attempt(3)))
    async def find(self, ev: Lookup) -> StopEvent:
        """Find the document."""
        raise FileNotFoundError(f"no such document: {ev.name}")


class Recovering(Workflow):
    """A step that fails, and another that takes up its failure."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.05), stop=stop_after_attempt(2)))
    async def find(self, ev: Lookup) -> StopEvent:
        """Find the document."""
        raise FileNotFoundError(f"no such document: {ev.name}")

    @catch_error(for_steps=["find"])
    async def go_on(self, ev: StepFailedEvent) -> StopEvent:
        """End without it."""
        return StopEvent(result=f"went on without it after {ev.attempts} attempts: {ev.exception}")


# -- Questions ------------------------------------------------------------------------------------


class Draft(StartEvent):
    """A text that somebody has to approve."""

    text: str = "We are sorry for the delay."


class Question(InputRequiredEvent):
    """The question to a person."""

    question: str
    text: str


class Verdict(HumanResponseEvent):
    """The person's answer."""

    approved: bool
    reviewer: str = "somebody"
    comment: str = Field("", description="Shown to the author.")


class Note(HumanResponseEvent):
    """A remark that may be sent while the run waits, and changes nothing."""

    text: str


class Ask(Workflow):
    """Ask a person by the engine's own events, with nothing that waits."""

    @step
    async def draft(self, ev: Draft) -> Question:
        """Ask."""
        return Question(question="Send this letter?", text=ev.text)

    @step
    async def note(self, ctx: Context, ev: Note) -> None:
        """Keep a remark."""
        async with ctx.store.edit_state() as state:
            state.notes = [*state.get("notes", []), ev.text]

    @step
    async def send(self, ev: Verdict) -> StopEvent:
        """Do what the answer says."""
        return StopEvent(result=f"{'sent' if ev.approved else 'kept'}, says {ev.reviewer}")


class Order(StartEvent):
    """An order that waits for its payment, for some seconds."""

    order: str = "A-17"
    amount: float = 12.5
    seconds: float = 3600.0


class PaymentDue(InputRequiredEvent):
    """The question for the payment."""

    message: str


class Payment(Event):
    """The payment of an order: that of another one is not what the run waits for."""

    order: str
    method: Literal["card", "cash", "transfer"] = "card"
    received: float


class Pay(Workflow):
    """Wait for an event with requirements and a deadline, in the middle of a step."""

    @step
    async def collect(self, ctx: Context, ev: Order) -> StopEvent:
        """Wait for the payment of this order."""
        due = PaymentDue(message=f"{ev.amount:.2f} for order {ev.order}")
        try:
            paid = await ctx.wait_for_event(
                Payment, waiter_event=due, requirements={"order": ev.order}, timeout=ev.seconds
            )
        except TimeoutError:
            return StopEvent(result=f"nobody paid {ev.order}")
        return StopEvent(result=f"{paid.received:.2f} by {paid.method}")


# -- Many events, and many executions of a step -----------------------------------------------------


class Loop(StartEvent):
    """Rounds of one step, each with some events; the last round waits at the gate."""

    rounds: int = Field(100, ge=1)
    events: int = Field(1, ge=0, description="Events of each round.")
    gate: str = ""


class Round(Event):
    """The next round."""

    number: int
    of: Loop


class Progress(Event):
    """An event for readers of the stream."""

    number: int
    text: str


class LongLoop(Workflow):
    """A step that runs again and again."""

    @step
    async def begin(self, ev: Loop) -> Round:
        """Begin with the first round."""
        return Round(number=0, of=ev)

    @step
    async def turn(self, ctx: Context, ev: Round) -> Round | StopEvent:
        """Publish the events of a round."""
        first = ev.number * ev.of.events
        for number in range(first, first + ev.of.events):
            ctx.write_event_to_stream(Progress(number=number, text=f"event {number} of round {ev.number}"))
        if ev.number + 1 < ev.of.rounds:
            return Round(number=ev.number + 1, of=ev.of)
        await hold(ev.of.gate)
        return StopEvent(result=ev.of.rounds)


chain = Chain(timeout=None)
fan_out = FanOut(timeout=None)
failing = Failing(timeout=None)
recovering = Recovering(timeout=None)
ask = Ask(timeout=None)
pay = Pay(timeout=None)
loop = LongLoop(timeout=None)
