"""Handlers as they are told one by one: with times by the wall clock."""

from __future__ import annotations

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import released
from workflow_server.execution.clock import ServerClock
from workflow_server.execution.standing import OpenWait, PendingRetry, Standing
from workflow_server.protocol.handlers import RunRequest
from workflow_server.records import RunLoaded, RunReleased
from workflow_server.runs.details import detailed
from workflow_server.runs.views import find_handler


class Behind(ServerClock):
    """A clock whose wall clock was set forward by 100 s."""

    def behind(self) -> float:
        return 100.0


class Asks(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent, timeout=None)
        return StopEvent()


async def test_deadlines_are_told_by_the_wall_clock(managing: Managing) -> None:
    async with managing(flow=Asks(timeout=None), idle_timeout=0.0) as manager:
        handler_id = (await manager.start("flow", RunRequest())).handler_id
        await released(manager, handler_id)
        handler = await find_handler(manager.store, handler_id)
        assert handler.run_id is not None
        standing = Standing(
            (), [OpenWait("a", "E", {}, None, 1.0)], [PendingRetry("b", 2, 2.0), PendingRetry("b", 3, 1e30)]
        )
        await manager.store.append(RunReleased(handler_id, handler.run_id, None, standing.to_json()))
        told = await detailed(manager.store, manager.runs, Behind(), handler)
        assert told.waiting_for is not None
        assert told.retrying_steps is not None
        assert told.waiting_for[0].deadline == "1970-01-01T00:01:41+00:00"
        assert [retry.at for retry in told.retrying_steps] == ["1970-01-01T00:01:42+00:00", None]


async def test_what_cannot_be_read_of_a_released_run_is_not_claimed(managing: Managing) -> None:
    async with managing(flow=Asks(timeout=None), idle_timeout=0.0) as manager:
        handler_id = (await manager.start("flow", RunRequest())).handler_id
        await released(manager, handler_id)
        run_id = (await manager.get_handler(handler_id)).run_id
        assert run_id is not None
        for record in (RunReleased(handler_id, run_id, None, "damaged"), RunReleased(handler_id, run_id, None)):
            await manager.store.append(record)
            told = await manager.describe_handler(handler_id)
            assert (told.running_steps, told.waiting_for, told.stalled) == (None, None, False)


async def test_where_a_run_stands_is_stored_while_it_is_released(managing: Managing) -> None:
    async with managing(flow=Asks(timeout=None), idle_timeout=0.0) as manager:
        handler_id = (await manager.start("flow", RunRequest())).handler_id
        await released(manager, handler_id)
        store, run_id = manager.store, (await manager.get_handler(handler_id)).run_id
        assert run_id is not None
        assert await store.read_standing(handler_id, run_id) is not None
        assert await store.read_standing(handler_id, "another run") is None
        await store.append(RunLoaded(handler_id, run_id))
        assert await store.read_standing(handler_id, run_id) is None
        await store.append(RunReleased(handler_id, run_id, None, "[]"))
        await manager.cancel(handler_id)
        assert await store.read_standing(handler_id, run_id) is None
