"""Events that a step sent before it was interrupted, and sends again."""

from __future__ import annotations

import asyncio
from hashlib import blake2b

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.runtime.types.results import StepWorkerState

from tests.harness.managing import Managing
from tests.harness.runs import ended, until
from workflow_server.execution import writer
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import BrokerState, EmissionKey, InProgressState, StepId, TickAddEvent
from workflow_server.execution.send_dedup import Sends, _digest
from workflow_server.execution.session import RunSession
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.manager import RuntimeManager

CODEC = Codec()


class Item(Event):
    n: int


class Last(Event):
    pass


class Tagged(Event):
    tags: set[int]


class Sender(Workflow):
    """Sends three items and stops after the second until it may go on; ``changing`` items differ each time."""

    def __init__(self, *, changing: bool = False) -> None:
        super().__init__()
        self.changing = changing
        self.halfway = 0
        self.go_on = asyncio.Event()

    @step
    async def send(self, ctx: Context, ev: StartEvent) -> Item | Last:
        for n in (1, 1, 2):
            if n == 2:
                self.halfway += 1
                await self.go_on.wait()
            ctx.send_event(Item(n=n + 10 * id(self) if self.changing else n))
            await asyncio.sleep(0)
        return Last()

    @step(num_workers=1)
    async def take(self, ctx: Context, ev: Item) -> None:
        async with ctx.store.edit_state() as state:
            state["taken"] = [*state.get("taken", []), ev.n % 10]

    @step(num_workers=1)
    async def finish(self, ctx: Context, ev: Last) -> StopEvent:
        while 2 not in (taken := await ctx.store.get("taken")):  # noqa: ASYNC110 the engine has no event for it
            await asyncio.sleep(0.001)
        return StopEvent(result=sorted(taken))


async def interrupted(managing: Managing, handler_id: str | None, workflow: Sender) -> str:
    """Take up or start the run, and end the process, as it were, when its step has sent two of its items."""
    async with managing(grace=0.0, sample=workflow) as manager:
        if handler_id is None:
            handler_id = (await manager.start("sample", RunRequest())).handler_id
        await until(lambda: workflow.halfway == 1)
        await taken(manager, handler_id, 2)
    return handler_id


async def taken(manager: RuntimeManager, handler_id: str, number: int) -> None:
    """Return when so many items have been taken."""
    run = manager.runs.get(handler_id)
    assert run is not None
    session = run.session
    assert isinstance(session, RunSession)
    await until(lambda: len(session.writer.state.durable["keys"].get("taken", [])) >= number)


async def result(managing: Managing, handler_id: str, workflow: Sender) -> object:
    workflow.go_on.set()
    async with managing(sample=workflow) as manager:
        handler, _ = await ended(manager, handler_id)
    assert handler.result is not None, handler.error
    return handler.result.value["result"]


@pytest.mark.parametrize("snapshots", [False, True])
async def test_a_step_interrupted_between_its_sends_sends_none_twice(
    managing: Managing, monkeypatch: pytest.MonkeyPatch, *, snapshots: bool
) -> None:
    if snapshots:
        monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 1)
    handler_id = await interrupted(managing, None, Sender())
    handler_id = await interrupted(managing, handler_id, Sender())
    assert await result(managing, handler_id, Sender()) == [1, 1, 2]


async def test_a_step_that_sends_another_event_again_has_sent_both(managing: Managing) -> None:
    handler_id = await interrupted(managing, None, Sender(changing=True))
    assert await result(managing, handler_id, Sender(changing=True)) == [1, 1, 1, 1, 2]


async def test_a_journal_of_an_earlier_version_is_replayed_as_it_happened(
    managing: Managing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, what was sent twice was taken twice."""
    handler_id = await interrupted(managing, None, Sender())
    with monkeypatch.context() as earlier:
        earlier.setattr(Sends, "note", lambda *_: [])
        workflow = Sender()
        async with managing(grace=0.0, sample=workflow) as manager:
            await until(lambda: workflow.halfway == 1)
            await taken(manager, handler_id, 4)
    found = await result(managing, handler_id, Sender())
    assert isinstance(found, list)
    assert found.count(1) == 4, "not fewer, which the steps behind have taken, and not more"


def test_equal_sets_are_equal_in_whatever_order_they_come() -> None:
    one, other = Tagged(tags={0, 8}), Tagged(tags={8, 0})
    assert list(one.tags) != list(other.tags)
    assert _digest(one, None, CODEC) == _digest(other, None, CODEC)
    assert _digest(one, None, CODEC) != _digest(Tagged(tags={0}), None, CODEC)


def test_what_a_first_build_noted_is_known_when_it_is_sent_again() -> None:
    state = BrokerState.from_workflow(Sender())
    execution = InProgressState(
        event=Item(n=0),
        worker_id=0,
        shared_state=StepWorkerState("send", {}, [], invocation_id="2"),
        attempts=0,
        first_attempt_at=0.0,
        work_item_id="1",
        invocation_id="2",
    )
    state.workers[StepId.root("send")].in_progress.append(execution)
    digest = blake2b(f"{__name__}.Tagged None ".encode() + b'{"tags":[1,2]}', digest_size=16).hexdigest()
    again = TickAddEvent(event=Tagged(tags={1, 2}), emission=EmissionKey("2", 0))
    sends = Sends(CODEC)
    sends.restore({"before": [["send", "1", {digest: 1}]]}, is_legacy=True)
    assert sends.note(again, state) == [0]
    execution.received.clear()
    assert sends.note(again, state) == [], "it was sent once"
