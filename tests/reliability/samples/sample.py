"""The definition of a sample workflow, and the steps that all use: they tell that they begin, and stop where a crash
may come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel
from workflows import Workflow
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from workflow_server.records import Status


class Send(NamedTuple):
    """The client answers an event by sending this one, to all steps or to one."""

    event: Event
    step: str | None = None


class Cancel(NamedTuple):
    """The client answers an event by cancelling the run."""


Reaction = Callable[[Mapping[str, Any]], Sequence[Send | Cancel]]
"""The reaction of a client to an event of these fields."""


@dataclass(frozen=True)
class Sample:
    """A small workflow that tells in its result what it did, and what a client does meanwhile.

    ``expected`` is its result, or a text in the reason for which it fails. ``runs`` are the fields of the start events
    of its runs, each after the first with the state that the one before left. Where steps run ``side_by_side`` for
    different times, the order of their events is that of the clock. One that is not ``interruptible`` holds what a
    crash ends: see ``behaviours.DIFFERENCES``.
    """

    workflow: Callable[[], Workflow]
    expected: object
    status: Status = "completed"
    runs: tuple[Mapping[str, Any], ...] = ({},)
    reactions: Mapping[str, Reaction] = field(default_factory=dict)
    side_by_side: bool = False
    interruptible: bool = True


Pause = Callable[[], Awaitable[None]]


async def give_way() -> None:
    """The pause of a run that nothing kills."""
    await asyncio.sleep(0)


begun: ContextVar[list[str]] = ContextVar("begun")
"""The steps that began in this process, in order, by step and work item."""
pause: ContextVar[Pause] = ContextVar("pause", default=give_way)


def begin(name: str, item: object = "") -> str:
    """A step begins; returns its label, which begins with its name."""
    label = f"{name} {item}".strip()
    begun.get().append(label)
    return label


async def crash_point() -> None:
    """Go on when all that was written until now is on the disk: a crash may come between two writes of a step."""
    await pause.get()()


class Begin(StartEvent):
    size: int = 3
    kind: str = ""


class Part(Event):
    n: int


class Done(Event):
    n: int


class Left(Event):
    n: int


class Right(Event):
    n: int


class Progress(Event):
    """The event that a step publishes; ``by`` is its label."""

    by: str
    text: str = ""


class Question(InputRequiredEvent):
    about: str


class Reply(HumanResponseEvent):
    about: str
    text: str = ""


class Report(StopEvent):
    lines: list[str]


class Tally(BaseModel):
    count: int = 0
    seen: list[int] = []


def replies(question: Mapping[str, Any]) -> Sequence[Send]:
    """Answer a question as it asks."""
    about = question["about"]
    return [Send(Reply(about=about, text=about.replace("q", "a")))]


ANSWERED: Mapping[str, Reaction] = {"Question": replies}
