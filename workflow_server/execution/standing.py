"""The standing of a run: the steps that run, its waits, and whether anything can happen in it any more.

Of a run in memory it is found in its state whenever somebody asks. When a run is released it is stored, as only a
replay of its journal would tell it then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json, to_json
from workflows.events import HumanResponseEvent

from workflow_server.execution.engine import BrokerState, Event, StepWorkerWaiter, Workflow, accepted_events
from workflow_server.execution.routing import is_at_work
from workflow_server.execution.waits import WaitKey, Waits, all_waiters

MOST_TOLD = 100
"""Steps, waits and retries that are told at most: a fan-out may have thousands."""
MOST_REQUIREMENTS = 20
LONGEST_REQUIREMENT = 500
"""Characters of JSON; of a value that is longer only its type is told."""

Doing = Literal["running", "waiting", "stalled"]
"""Activity of a run: it waits where something is to be answered, also while some of its steps run."""

Awaited = Sequence[tuple[str, type[Event]]]
"""Steps with the types that they accept and that come from outside of the workflow."""


class RunningStep(NamedTuple):
    """An execution of a step."""

    step: str
    since: float | None
    """When it began, by the wall clock; None where it is about to begin."""


class OpenWait(NamedTuple):
    """A wait that nothing has answered; its deadline is by the server's clock."""

    step: str
    event: str
    requirements: dict[str, Any]
    """Fields that the event must have, with their values as JSON."""
    question: str | None
    """The class of the event that was published with it."""
    deadline: float | None
    since: float | None = None
    """When it began, by the server's clock."""
    prompt: str | None = None
    """The question as text."""


class PendingRetry(NamedTuple):
    """A step that has failed and begins again at a time of the server's clock."""

    step: str
    attempt: int
    """The attempt that comes, 2 for the first retry."""
    at: float


class Standing(NamedTuple):
    """The steps that run, the open waits and the retries of a run."""

    running: Sequence[RunningStep] = ()
    waits: Sequence[OpenWait] = ()
    retries: Sequence[PendingRetry] = ()
    stalled: bool = False
    """Nothing happens in it any more, unless a client sends it an event or its timeout passes."""

    @property
    def doing(self) -> Doing:
        """Return what the run does."""
        return "waiting" if self.waits else "stalled" if self.stalled else "running"

    def to_json(self) -> str:
        """Return the text that is stored of a run that is released, in which no step runs."""
        return json.dumps([self.waits, self.retries, self.stalled], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Standing | None:
        """Return what was stored; None where it cannot be read."""
        try:
            waits, retries, stalled = json.loads(text)
            return cls((), [OpenWait(*wait) for wait in waits], [PendingRetry(*retry) for retry in retries], stalled)
        except (ValueError, TypeError):
            return None


def awaited_from_outside(workflow: Workflow, additional: Iterable[type[Event]]) -> Awaited:
    """Return the steps that accept what a person answers, or what the workflow says that clients send."""
    kinds: tuple[type[Event], ...] = (HumanResponseEvent, *additional)
    return [
        (step, kind)
        for step, (accepted, _, _) in accepted_events(workflow).items()
        for kind in accepted
        if issubclass(kind, kinds)
    ]


def standing_of(
    state: BrokerState, waits: Waits, awaited: Awaited, running: list[RunningStep], *, is_resting: bool
) -> Standing:
    """Return where a run in this state stands. ``is_resting``: nothing is on its way to its loop, which waits."""
    told = [_told(key, waiter, waits) for key, waiter in islice(_open_waits(state), MOST_TOLD)]
    retries = list(islice(_retries(state), MOST_TOLD))
    is_idle = is_resting and not told and _is_idle(state)
    if is_idle:
        prompt, since = waits.asked or (None, None)
        told = [OpenWait(step, kind.__name__, {}, None, None, since, prompt) for step, kind in awaited]
    return Standing(running[:MOST_TOLD], told, retries, stalled=is_idle and not told)


def doing_of(state: BrokerState, waits: Waits, awaited: Awaited, *, is_resting: bool) -> Doing:
    """Return what ``standing_of`` would say of a run, which takes longer."""
    if waits.since and next(_open_waits(state), None) is not None:
        return "waiting"
    if is_resting and _is_idle(state):
        return "waiting" if awaited else "stalled"
    return "running"


def _is_idle(state: BrokerState) -> bool:
    """Return whether nothing goes on in a run without open waits."""
    return not is_at_work(state) and not state.deliveries


def _open_waits(state: BrokerState) -> Iterator[tuple[WaitKey, StepWorkerWaiter[Event]]]:
    for step_id, waiter in all_waiters(state):
        if waiter.resolved_event is None and not waiter.timed_out:
            yield (str(step_id), waiter.waiter_id), waiter


def _told(key: WaitKey, waiter: StepWorkerWaiter[Event], waits: Waits) -> OpenWait:
    return OpenWait(
        step=key[0],
        event=waiter.waiting_for_event.__name__,
        requirements=requirements_told(waiter.requirements),
        question=waits.questions.get(key),
        deadline=waits.deadlines.get(key),
        since=waits.since.get(key),
        prompt=waits.prompts.get(key),
    )


def _retries(state: BrokerState) -> Iterator[PendingRetry]:
    for step_id, worker in state.workers.items():
        for attempt in worker.queue:
            if attempt.not_before is not None:
                yield PendingRetry(str(step_id), (attempt.attempts or 0) + 1, attempt.not_before)


def requirements_told(requirements: Mapping[str, Any]) -> dict[str, Any]:
    """Return the requirements of a wait with their values as JSON, the first ``MOST_REQUIREMENTS`` of them."""
    return dict(map(_as_json, islice(requirements.items(), MOST_REQUIREMENTS)))


def _as_json(item: tuple[str, Any]) -> tuple[str, Any]:
    """Return a requirement with its value as JSON; with the type of one that JSON cannot express, or that is long."""
    name, value = item
    try:
        text = to_json(value, inf_nan_mode="strings", fallback=_type_of)
        return name, from_json(text) if len(text) <= LONGEST_REQUIREMENT else _type_of(value)
    except BaseException:
        # A serializer of the user's may raise: the rest is told all the same.
        return name, _type_of(value)


def _type_of(value: object) -> str:
    return f"({type(value).__name__})"
