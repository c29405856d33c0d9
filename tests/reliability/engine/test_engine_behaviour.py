"""The engine's documented behaviour, under the durable runtime as in the basic one, also with a kill at any point."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from workflows import Context, Workflow, catch_error, step
from workflows.errors import WorkflowRuntimeError, WorkflowValidationError
from workflows.events import StartEvent, StepFailedEvent, StopEvent

from tests.harness.managing import CONTROL_LOOP, uses_engine_loop
from tests.reliability.engine.behaviours import BEHAVIOURS, DIFFERENCES
from tests.reliability.engine.engine_runs import Server, outcome, read, run_basic
from tests.reliability.engine.every_commit import DiskCopies, KillPoint, run_durable
from tests.reliability.engine.kill_campaign import Campaign
from tests.reliability.reporting import ROOT, Extent, Survived
from tests.reliability.samples import SAMPLES
from tests.reliability.samples.declaring import Custom
from tests.reliability.samples.kept import KEPT
from tests.reliability.samples.sample import Begin, Left, Reply, Right, Sample, begin, begun, crash_point
from tests.reliability.samples.waits import Returned
from workflow_server.execution import writer
from workflow_server.execution.envelopes import envelope
from workflow_server.execution.exceptions import InvalidEvent, InvalidWorkflow
from workflow_server.protocol.handlers import IdempotencyKey, RunRequest
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore


@pytest.mark.slow(60)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("memory", ["journal", "snapshots", "released"])
async def test_a_run_killed_after_a_commit_ends_as_in_the_basic_runtime(
    memory: str, tmp_path: Path, extent: Extent, survived: Survived, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resumed from its journal; from a snapshot wherever there can be one; and released whenever it only waits."""
    if memory == "snapshots":
        monkeypatch.setattr(writer, "SNAPSHOT_TICKS", 1)
        monkeypatch.setattr(writer, "STATE_PATCHES", 1)
    every = memory == "journal" or extent.long
    campaign = Campaign(
        tmp_path,
        extent.seed,
        idle_timeout=0.0 if memory == "released" else None,
        points=None if every else 1,
        second=extent.of(short=0, long=2),
    )
    await campaign.run(SAMPLES)
    assert not campaign.wrong, "\n\n".join([f"{len(campaign.wrong)} differ:", *campaign.wrong])
    assert campaign.samples == len(SAMPLES)
    assert campaign.kills > (5 * len(SAMPLES) if every else len(SAMPLES) / 2)
    assert campaign.interrupted or not every
    how = {"journal": "from the journal", "snapshots": "from snapshots", "released": "with runs out of memory"}[memory]
    survived(
        f"killed after {'each' if every else 'one'} of the commits of each sample workflow, and resumed {how}",
        "P3 P4 P6 P7 P8",
        times=campaign.kills,
        unit="kills",
        figures=f"{campaign.samples} samples of {len(BEHAVIOURS)} documented behaviours, as in the basic runtime; "
        f"{campaign.interrupted} kills in the middle of a step",
    )
    if campaign.pairs:
        survived(
            f"… and killed again in what was resumed, {how}",
            "P3 P4 P6 P7 P8",
            times=campaign.pairs,
            unit="pairs of kills",
            figures=f"{campaign.samples} samples",
        )


@pytest.mark.slow(30)
@pytest.mark.timeout(600)
async def test_the_engines_own_loop_ends_each_sample_alike(
    tmp_path: Path, extent: Extent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after one of its commits, and resumed; runs of verbose workflows are driven by that loop, too."""
    monkeypatch.setenv(CONTROL_LOOP, "engine")
    campaign = Campaign(tmp_path, extent.seed, idle_timeout=None, points=1, second=0)
    await campaign.run(SAMPLES)
    assert not campaign.wrong, "\n\n".join([f"{len(campaign.wrong)} differ:", *campaign.wrong])
    assert campaign.samples == len(SAMPLES)


def test_each_behaviour_is_shown_and_each_difference_is_told() -> None:
    """The lists are complete: no sample without a behaviour, no behaviour without a sample, no silent difference."""
    shown = [name for behaviour in BEHAVIOURS for name in behaviour.shown_by]
    shown += [difference.test for difference in DIFFERENCES if difference.test is not None]
    tests = {name for name in globals() if name.startswith("test_")}
    assert {name for name in shown if not name.startswith("test_")} == SAMPLES.keys()
    assert {name for name in shown if name.startswith("test_")} <= tests
    whats = [behaviour.what for behaviour in BEHAVIOURS]
    assert len(set(whats)) == len(whats)
    pages = " ".join(f"{(ROOT / 'docs' / name).read_text()} " for name in ("guide.md", "architecture.md"))
    text = " ".join(pages.split())
    assert not [difference.told for difference in DIFFERENCES if difference.told not in text]


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.__name__)
async def test_what_the_engines_json_loses_is_kept(kind: type[Workflow], tmp_path: Path) -> None:
    """It is there where nothing happens, and after a death at each commit."""
    live = KEPT[kind]
    sample = Sample(kind, live)
    assert (await run_basic(sample)).outcome.result == live
    whole = await run_durable(sample, KillPoint(tmp_path / "live.sqlite3", []), idle_timeout=None, copied=True)
    assert whole.record.outcome.result == live
    results = [(await run_durable(sample, point, idle_timeout=None)).record.outcome.result for point in whole.points]
    assert set(results) == {live}


class Queued(Workflow):
    """One run at a time."""

    def __init__(self) -> None:
        super().__init__(num_concurrent_runs=1)
        self.at_work = 0

    @step
    async def only(self, ev: Begin) -> StopEvent:
        begin("only", ev.kind)
        self.at_work += 1
        assert self.at_work == 1
        await crash_point()
        await asyncio.sleep(0.005)
        self.at_work -= 1
        return StopEvent(result=ev.kind)


async def test_runs_wait_for_their_turn_in_order(tmp_path: Path, survived: Survived) -> None:
    """num_concurrent_runs, as in the basic runtime, and after a kill at each commit."""
    basic: list[str] = []
    begun.set(basic)
    workflow = Queued()
    assert await asyncio.gather(*(workflow.run(kind=kind) for kind in "abc")) == ["a", "b", "c"]

    async def serve(point: KillPoint, *, copied: bool) -> list[KillPoint]:
        steps = list(point.begun)
        begun.set(steps)
        copies = DiskCopies(point.path, steps)
        server = Server(point.path, Sample(Queued, ""))
        await server.start(copies if copied else None)
        try:
            async with asyncio.timeout(60):
                asked = [RunRequest({"kind": kind}, key=IdempotencyKey(kind, kind)) for kind in "abc"]
                started = [await server.manager.start("sample", request) for request in asked]
                ended = [await server.ended(handler.handler_id) for handler in started]
        finally:
            await server.stop()
        assert [handler.result.value["result"] for handler in ended if handler.result] == ["a", "b", "c"]
        assert list(dict.fromkeys(steps)) == basic, "the queue keeps its order"
        assert len(steps) - len(basic) <= (not copied), "only what was under way began again"
        return copies.points

    points = await serve(KillPoint(tmp_path / "live.sqlite3", []), copied=True)
    for point in points:
        await serve(point, copied=False)
    survived("killed with runs that wait behind num_concurrent_runs", "P1 P3 P8", times=len(points), unit="kills")


class Talking(Workflow):
    @step
    async def first(self, ev: StartEvent) -> Left:
        begin("first")
        return Left(n=1)

    @step
    async def second(self, ev: Left) -> StopEvent:
        begin("second")
        return StopEvent(result="told")


async def test_a_verbose_workflow_tells_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "workflows.verbose")
    sample = Sample(lambda: Talking(verbose=True), "told")
    await run_basic(sample)
    basic = [record.message for record in caplog.records if record.name == "workflows.verbose"]
    caplog.clear()
    await run_durable(sample, KillPoint(tmp_path / "live.sqlite3", []), idle_timeout=None)
    assert [record.message for record in caplog.records if record.name == "workflows.verbose"] == basic
    assert "[first:0] started from StartEvent" in basic


async def test_a_context_that_was_saved_goes_on(tmp_path: Path) -> None:
    """Saved by the basic runtime while it waits: restored there, and given to the durable one."""
    begun.set([])
    workflow = Returned()
    handler = workflow.run()
    async for event in handler.stream_events():
        if type(event).__name__ == "Question":
            break
    saved = json.loads(json.dumps(handler.ctx.to_dict()))
    await handler.cancel_run()
    restored = workflow.run(ctx=Context.from_dict(workflow, saved))
    restored.ctx.send_event(Reply(about="q1", text="a1"))
    expected = await restored

    store = SqliteWorkflowStore(tmp_path / "runs.sqlite3")
    manager = RuntimeManager(store, idle_timeout=None, accept_context=True, engine_loop=uses_engine_loop())
    manager.add_workflow("sample", Returned())
    manager.listen()
    await store.open()
    await manager.resume()
    started = await manager.start("sample", RunRequest(context=saved))
    await manager.send(started.handler_id, json.loads(envelope(Reply(about="q1", text="a1"))), None, None)
    reader = await manager.open_cursor(started.handler_id, -1)
    log = []
    while reader is not None and (page := await reader.next_page(30)):
        log += [read(event.data) for event in page]
    await manager.stop(1.0)
    await store.close()
    assert outcome("completed", log).result == expected == ["a1", True]


class Consumed(Workflow):
    @step
    async def first(self, ev: StartEvent) -> Left:
        return Left(n=1)

    @step
    async def second(self, ev: Right) -> StopEvent:
        return StopEvent()


class TwoWildcards(Workflow):
    @step
    async def first(self, ev: StartEvent) -> StopEvent:
        return StopEvent()

    @catch_error
    async def one(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent()

    @catch_error
    async def other(self, ev: StepFailedEvent) -> StopEvent:
        return StopEvent()


@pytest.mark.parametrize("kind", [Consumed, TwoWildcards])
async def test_a_graph_that_the_engine_refuses_is_refused(kind: type[Workflow], tmp_path: Path) -> None:
    with pytest.raises(WorkflowValidationError) as basic:
        kind().run()
    manager = RuntimeManager(SqliteWorkflowStore(tmp_path / "runs.sqlite3"), engine_loop=uses_engine_loop())
    with pytest.raises(InvalidWorkflow) as durable:
        manager.add_workflow("sample", kind())
    assert str(basic.value) in str(durable.value)


async def test_a_start_event_that_does_not_validate_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(WorkflowRuntimeError):
        Custom().run(size="many")
    server = Server(tmp_path / "runs.sqlite3", Sample(Custom, ""))
    await server.start()
    with pytest.raises(InvalidEvent):
        await server.manager.start("sample", RunRequest({"size": "many"}))
    assert not await server.manager.list_handlers(None, None)
    await server.stop()
