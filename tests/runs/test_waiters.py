"""Waits for the end of a run: one future each, which may stand for the start before it."""

from __future__ import annotations

import asyncio

import pytest

from workflow_server.errors import ShuttingDown
from workflow_server.records import RunEnded
from workflow_server.runs.waiters import EndWaiters

OVER = RunEnded("handler", "run", "completed", None, None, 0.0)


@pytest.fixture
async def caller() -> asyncio.Future[RunEnded]:
    return asyncio.get_running_loop().create_future()


async def test_an_end_before_the_start_is_known_is_told_at_once(caller: asyncio.Future[RunEnded]) -> None:
    waiters = EndWaiters()
    with waiters.end_of("run") as end:
        waiters.ended(OVER)
        assert not caller.done()
        end.tell(caller)
        assert caller.result() is OVER


async def test_an_end_after_the_start_is_told_to_who_waits(caller: asyncio.Future[RunEnded]) -> None:
    waiters = EndWaiters()
    with waiters.end_of("run") as end, waiters.end_of("run") as other:
        end.tell(caller)
        waiters.ended(OVER)
        assert caller.result() is other.future.result() is OVER
    assert not len(waiters)


async def test_a_stop_during_the_start_is_told_when_it_is_known(caller: asyncio.Future[RunEnded]) -> None:
    waiters = EndWaiters()
    with waiters.end_of("run") as end:
        waiters.close()
        end.tell(caller)
        assert isinstance(caller.exception(), ShuttingDown)


async def test_a_start_after_its_caller_has_left_leaves_nothing(caller: asyncio.Future[RunEnded]) -> None:
    waiters = EndWaiters()
    with waiters.end_of("run") as end:
        pass
    end.tell(caller)
    assert not len(waiters)
    assert not caller.done()
