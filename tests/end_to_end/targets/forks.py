"""Steps that make children in every way that there is."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import aiosqlite
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

LIFE = 20.0
"""Seconds that a child lives, unless it is killed."""

forking = multiprocessing.get_context("fork")


class Children(Event):
    """The children that a step made."""

    pids: list[int]


class Ended(Event):
    """A child has ended: its exit code, negative where a signal ended it."""

    code: int


def outlive() -> None:
    """Stay."""
    time.sleep(LIFE)


def close_everything() -> None:
    """End as a program does that forgets what it holds: each connection is closed when nothing names it any more."""
    before = _connections()
    for holder in [kept for kept in gc.get_objects() if isinstance(kept, aiosqlite.Connection)]:
        holder._connection = None
    gc.collect()
    os._exit(before - _connections())


def _connections() -> int:
    return sum(isinstance(kept, sqlite3.Connection) for kept in gc.get_objects())


def _process() -> list[int]:
    process = forking.Process(target=outlive)
    process.start()
    assert process.pid is not None
    return [process.pid]


def _spawned() -> list[int]:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(LIFE,))
    process.start()
    assert process.pid is not None
    return [process.pid]


def _of_a_fork_server() -> list[int]:
    process = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(LIFE,))
    process.start()
    assert process.pid is not None
    return [process.pid]


def _pool() -> list[int]:
    pool = ProcessPoolExecutor(2, mp_context=forking)
    pool.submit(outlive)
    return list(pool._processes)


def _fork() -> list[int]:
    pid = os.fork()
    if not pid:
        outlive()
        os._exit(0)
    return [pid]


def _grandchild() -> list[int]:
    pid = os.fork()
    if not pid:
        os.fork()
        outlive()
        os._exit(0)
    return [pid]


def _program() -> list[int]:
    return [subprocess.Popen(["sleep", str(LIFE)], close_fds=False).pid]


KINDS: dict[str, Callable[[], list[int]]] = {
    "process": _process,
    "pool": _pool,
    "spawned": _spawned,
    "of a fork server": _of_a_fork_server,
    "fork": _fork,
    "grandchild": _grandchild,
    "program": _program,
}


class Forks(Workflow):
    """Makes children of one kind, and waits."""

    @step
    async def go(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.is_running and os.environ.get("FORKS_REST"):
            return StopEvent(result="done")
        make = KINDS[ev.get("kind")]
        pids = await asyncio.to_thread(make) if ev.get("thread", False) else make()
        ctx.write_event_to_stream(Children(pids=pids))
        await asyncio.sleep(LIFE)
        return StopEvent(result="waited")


class ForksAndReturns(Workflow):
    """The child comes back into the event loop, by a return, an exception or an exit."""

    @step
    async def go(self, ctx: Context, ev: StartEvent) -> StopEvent:
        pid = await asyncio.to_thread(os.fork) if ev.get("way") == "thread" else os.fork()
        if pid:
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            return StopEvent(result=os.waitstatus_to_exitcode(status))
        ctx.write_event_to_stream(Children(pids=[os.getpid()]))
        if ev.get("way") == "raise":
            raise ValueError("in the child")
        if ev.get("way") == "exit":
            raise SystemExit(0)
        if ev.get("way") == "wait":
            await asyncio.sleep(0)
        return StopEvent(result="by the child")


class ForksAndCloses(Workflow):
    """The child closes the connections of the database."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        process = forking.Process(target=close_everything)
        process.start()
        await asyncio.to_thread(process.join)
        return StopEvent(result=process.exitcode)


class Terminates(Workflow):
    """The child is sent SIGTERM, as ``Process.terminate`` does."""

    @step
    async def go(self, ev: StartEvent) -> StopEvent:
        process = forking.Process(target=outlive)
        process.start()
        process.terminate()
        await asyncio.to_thread(process.join)
        return StopEvent(result=process.exitcode == -signal.SIGTERM)


forks = Forks(timeout=None)
forks_and_returns = ForksAndReturns(timeout=None)
forks_and_closes = ForksAndCloses(timeout=None)
terminates = Terminates(timeout=None)
