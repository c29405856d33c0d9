"""At start every run that was running goes on, and one that cannot go on never stops the others."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness.api import Json, Reader
from tests.harness.server_process import TARGETS, DidNotStart, DurableServer
from workflow_server.runs.manager import RuntimeManager
from workflow_server.store.sqlite.store import SqliteWorkflowStore

RUNS = 200
ROUNDS = 5_000
"""Steps of the long run; each makes two ticks."""


def stored(db: Path, query: str, *parameters: object) -> Any:
    """The one value that a query finds in a server's database."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return connection.execute(query, parameters).fetchone()[0]


async def test_two_hundred_interrupted_runs_run_again_after_a_restart(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py") as server:
        begun = await asyncio.gather(*(server.api.start("gated") for _ in range(RUNS)))
        await server.ledger.reached("gated", RUNS)

        await server.restart()
        await server.ledger.reached("gated", 2 * RUNS)
        after = time.monotonic()

        print(
            f"{RUNS} runs: in their steps {after - server.spawned_at:.2f} s after the start of the process, which "
            f"listened after {server.listening_at - server.spawned_at:.2f} s"
        )
        assert server.resumed == RUNS
        assert {handler["run_id"] for handler in await server.api.running()} == {run["run_id"] for run in begun}
        server.ledger.open("gated")
        results = await asyncio.gather(*(server.api.result(run["handler_id"]) for run in begun))
        assert results == ["through"] * RUNS
        assert server.ledger.count("begin", "wait") == 2 * RUNS
        assert server.ledger.count("begin", "after") == RUNS


@pytest.mark.slow(15)
async def test_ten_thousand_ticks_resume_from_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The journal names its events by the module of the target, as the server imported it.
    monkeypatch.syspath_prepend(TARGETS)
    async with DurableServer(tmp_path, "flows.py") as server:
        handler = await server.api.start("counting")
        await server.ledger.reached("counted")
        await server.kill()

        ticks = stored(server.db, "SELECT max(seq) + 1 FROM ticks WHERE run_id = ?", handler["run_id"])
        rows = stored(server.db, "SELECT count(*) FROM ticks WHERE run_id = ?", handler["run_id"])
        assert ticks >= 2 * ROUNDS
        assert rows < 1_200
        for name, value in server.ledger.environment.items():
            monkeypatch.setenv(name, value)
        took = await resume_time(server.db)
        print(f"{ticks} ticks, {rows} of them in the journal: resumed in {took:.4f} s")

        begins = server.ledger.count("begin", "last")
        await server.start()
        await server.ledger.reached("counted", begins + 1)
        server.ledger.open("counted")
        assert await server.api.result(handler["handler_id"]) == ROUNDS
        assert server.ledger.count("begin", "last") == begins + 1


async def resume_time(db: Path) -> float:
    """Return the seconds that a manager of its own takes to resume everything in a copy of the database."""
    copy = db.parent / "copy"
    copy.mkdir()
    for file in db.parent.glob(f"{db.name}*"):
        shutil.copy(file, copy)
    store = SqliteWorkflowStore(str(copy / db.name))
    manager = RuntimeManager(store)
    manager.add_workflow("counting", importlib.import_module("flows").counting)
    manager.listen()
    await store.open()
    begun = time.perf_counter()
    resumed = await manager.resume()
    took = time.perf_counter() - begun
    await manager.stop(0)
    await store.close()
    assert resumed == 1
    return took


@pytest.mark.slow(15)
@pytest.mark.timeout(400)
async def test_a_run_that_kills_the_process_is_quarantined_alone(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py", "--max-attempts", "1") as server:
        before = await server.api.start("gated")
        await server.ledger.reached("gated")
        deadly = await server.api.start("deadly")
        deaths = await die_until_quarantined(server, deadly)

        handler = await server.api.handler(deadly["handler_id"])
        assert "quarantined" in handler["error"]
        assert (await server.api.events(deadly["handler_id"]))[-1].type == "WorkflowFailedEvent"
        assert server.ledger.count("begin", "kill") == deaths <= 5
        server.ledger.open("gated")
        assert await server.api.result(before["handler_id"]) == "through"
        await server.restart()
        assert server.resumed == 0


async def die_until_quarantined(server: DurableServer, deadly: Json) -> int:
    """Start the server again each time that it dies, until the run has failed; returns how often it died."""
    for deaths in range(1, 10):
        await asyncio.to_thread(server.process.wait, 60)
        try:
            await server.restart()
        except DidNotStart:
            # The run may kill the process before it has said where it listens.
            assert await asyncio.to_thread(server.process.wait, 60) == -signal.SIGKILL
            continue
        reader = Reader(server.api, deadly["handler_id"])
        died = asyncio.create_task(asyncio.to_thread(server.process.wait, 60), name="death")
        failed = asyncio.create_task(reader.finished(), name="quarantine")
        await asyncio.wait((died, failed), return_when=asyncio.FIRST_COMPLETED)
        await reader.stop()
        if failed.done() and not failed.cancelled() and not died.done():
            died.cancel()
            return deaths
        failed.cancel()
    raise AssertionError("the run was never quarantined")


async def test_a_run_of_no_registered_workflow_waits_and_goes_on_later(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "v1/versions.py") as server:
        withdrawn = await server.api.start("withdrawn")
        kept = await server.api.start("kept")
        await server.ledger.reached("kept", 2)
        server.ledger.open("kept")

        await server.kill()
        await server.start("v2/versions.py")
        assert server.resumed == 1
        assert await server.api.result(kept["handler_id"]) == "kept"
        handler = await server.api.handler(withdrawn["handler_id"])
        assert handler["status"] == "running"
        assert "not registered" in handler["suspended"]
        event = {"event": {"type": "HumanResponseEvent", "value": {}}}
        status, answer = await server.api.call("POST", f"/events/{withdrawn['handler_id']}", event)
        assert status == 409
        assert "not registered" in answer["detail"]

        await server.kill()
        await server.start("v1/versions.py")
        assert await server.api.result(withdrawn["handler_id"]) == "kept"
        ended = await server.api.handler(withdrawn["handler_id"])
        assert (ended["run_id"], ended["started_at"]) == (withdrawn["run_id"], withdrawn["started_at"])


@pytest.mark.parametrize("workflow", ["renamed", "restated"])
async def test_a_run_that_does_not_fit_the_code_is_suspended(workflow: str, tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "v1/versions.py") as server:
        broken = await server.api.start(workflow)
        kept = await server.api.start("kept")
        reader = Reader(server.api, broken["handler_id"])
        await server.ledger.reached(workflow)
        await server.ledger.reached("kept")
        server.ledger.open("kept")

        await server.kill()
        await server.start("v2/versions.py")

        handler = await server.api.handler(broken["handler_id"])
        assert (handler["status"], handler["error"]) == ("running", None)
        assert "it does not fit the code" in handler["suspended"]
        assert await server.api.result(kept["handler_id"]) == "kept"

        await server.kill()
        await server.start("v1/versions.py")
        server.ledger.open(workflow)
        events = await reader.finished()
        assert events[-1].type == "StopEvent"
        assert [event.sequence for event in events] == list(range(len(events)))
