"""The types for which a run has begun to wait."""

from __future__ import annotations

import pytest
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from workflow_server.execution.engine import AddWaiter, TickStepResult, new_state
from workflow_server.execution.waits import BegunWaits, Waits


class Approval(HumanResponseEvent):
    pass


class TakesSubclasses(Workflow):
    @step(accept_event_subclasses=True)
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent()


class TakesItsTypes(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent()


def restored(begun: BegunWaits) -> BegunWaits:
    """The same, after a snapshot."""
    again = BegunWaits()
    again.restore(begun.to_json())
    return again


@pytest.mark.parametrize(("kind", "covers"), [(TakesSubclasses, True), (TakesItsTypes, False)])
def test_a_wait_covers_subclasses_where_its_step_takes_them(kind: type[Workflow], *, covers: bool) -> None:
    waits, state = Waits(), new_state(kind())
    wait = AddWaiter[HumanResponseEvent](waiter_id="question", event_type=HumanResponseEvent)
    result = TickStepResult(step_id=next(iter(state.config.steps)), worker_id=0, event=StartEvent(), result=[wait])
    waits.note(result, state)
    for begun in (waits.begun, restored(waits.begun)):
        assert begun.cover(HumanResponseEvent)
        assert begun.cover(Approval) is covers
        assert not begun.cover(StopEvent)
