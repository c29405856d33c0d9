"""A process that is killed: what it acknowledged is there, and whole."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.harness.spawning import ROOT
from tests.store.making import run_started
from workflow_server.store import HandlerQuery, SqliteWorkflowStore

WORK = """
import asyncio, sys
from workflow_server.records import EventAppended, RunStarted, TickAppended
from workflow_server.store import SqliteWorkflowStore

async def work(store, name):
    await store.commit(RunStarted(name, "flow", name, 1.0, 0, None))
    for n in range(1_000_000):
        await store.append(TickAppended(name, n, "{}"), EventAppended(name, n, name, False, "{}", 1.0))
        print(name, n, flush=True)

async def main():
    store = SqliteWorkflowStore(sys.argv[1])
    await store.open()
    await asyncio.gather(*(work(store, f"{sys.argv[2]}-{n}") for n in range(8)))

asyncio.run(main())
"""


async def killed_while_working(path: Path, label: str, lines: int) -> dict[str, int]:
    """Kill a process after so many acknowledgements; returns the last one of each handler."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORK, str(path), label, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert worker.stdout is not None
    acknowledged: dict[str, int] = {}
    for _ in range(lines):
        name, n = (await worker.stdout.readline()).split()
        acknowledged[name.decode()] = int(n)
    worker.send_signal(signal.SIGKILL)
    # What it printed before it died counts too.
    for line in (await worker.stdout.read()).splitlines(keepends=True):
        if line.endswith(b"\n"):
            name, n = line.split()
            acknowledged[name.decode()] = int(n)
    await worker.wait()
    return acknowledged


@pytest.mark.slow(10)
async def test_acknowledged_units_survive_sigkill_and_none_is_cut(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    chance = random.Random(2)
    for kill in range(5):
        acknowledged |= await killed_while_working(path, f"k{kill}", chance.randrange(20, 2000))
    store = SqliteWorkflowStore(path)
    await store.open()
    assert len(acknowledged) == 40
    for name, last in acknowledged.items():
        run = await store.load_run(name)
        assert run is not None
        assert run.last_sequence >= last
        assert [tick.seq for tick in run.ticks] == list(range(run.last_sequence + 1))
    assert {handler.handler_id for handler in await store.query(HandlerQuery())} >= set(acknowledged)
    await store.close()


@pytest.mark.parametrize(
    ("point", "there"), [("before commit", False), ("inside commit", False), ("after commit", True)]
)
async def test_a_kill_at_a_commit_leaves_all_of_it_or_nothing(path: Path, point: str, *, there: bool) -> None:
    script = f"""
import asyncio, os, signal, sys
from workflow_server.records import RunStarted, TickAppended
from tests.store.fault_injection import HookedStore

def kill(at, records):
    if at == {point!r}:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = HookedStore(sys.argv[1])
    await store.open()
    store.hook = kill
    await store.commit(RunStarted("a", "flow", "a-1", 1.0, 0, None), TickAppended("a-1", 0, "{{}}"))

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), cwd=ROOT)
    assert await worker.wait() == -signal.SIGKILL
    store = SqliteWorkflowStore(path)
    await store.open()
    run = await store.load_run("a")
    assert (run is not None) == there
    if run is not None:
        assert len(run.ticks) == 1
    await store.close()


@pytest.mark.parametrize(
    ("moment", "kind", "clean"),
    [
        ("before commit", "MigrationApplied", True),
        ("inside commit", "MigrationApplied", True),
        ("after commit", "MigrationApplied", True),
        ("before commit", "ServerStarted", True),
        ("inside commit", "ServerStarted", True),
        ("after commit", "ServerStarted", False),
        ("before checkpoint", "", False),
        ("after checkpoint", "", False),
        ("before commit", "ServerStopped", False),
        ("inside commit", "ServerStopped", False),
        ("after commit", "ServerStopped", True),
    ],
)
async def test_after_a_kill_at_open_or_close_the_file_says_how_it_was(
    path: Path, moment: str, kind: str, *, clean: bool
) -> None:
    there = kind != "MigrationApplied"
    if there:
        made = SqliteWorkflowStore(path)
        await made.open()
        await made.commit(run_started("a"))
        await made.close()
    script = f"""
import asyncio, os, signal, sys
from tests.store.fault_injection import HookedStore

def kill(at, records):
    if at == {moment!r} and {kind!r} in ("", *(type(record).__name__ for record in records)):
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = HookedStore(sys.argv[1])
    store.hook = kill
    await store.open()
    await store.close()

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), cwd=ROOT)
    assert await worker.wait() == -signal.SIGKILL
    store = SqliteWorkflowStore(path)
    await store.open()
    assert store.stopped_cleanly == clean
    assert len(await store.running_runs()) == there
    await store.close()
