"""Deploys of changed code over runs that wait, run or are queued: none is failed, and all go on when it is put back."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from tests.harness.api import Json
from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT, clean_environment
from tests.reliability.deploying.versions import WAYS, write
from tests.reliability.reporting import Survived

EACH = 4
"""Runs of each way."""
WAITING = [way.workflow for way in WAYS if way.waits]


async def check(server: DurableServer, target: Path) -> tuple[int, Json]:
    """The exit code of ``workflow-server check``, and what it prints."""
    command = [sys.executable, "-m", "workflow_server", "check", str(target), "--db", str(server.db), "--json"]
    environment = {**clean_environment(), **server.environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=server.folder, env=environment
    )
    out, err = await process.communicate()
    assert process.returncode in {0, 1}, err.decode()
    found: Json = json.loads(out)
    return process.returncode, found


def files(server: DurableServer) -> dict[str, bytes]:
    """The contents of the database's files, but for the index of its log."""
    found = server.db.parent.glob(f"{server.db.name}*")
    return {file.name: file.read_bytes() for file in found if not file.name.endswith(("-shm", ".lock"))}


async def begin(server: DurableServer) -> dict[str, list[str]]:
    """Start the runs of each way, and return their handlers when they have come as far as they do."""
    started: dict[str, list[str]] = {}
    for way in WAYS:
        started[way.workflow] = [(await server.api.start(way.workflow))["handler_id"] for _ in range(EACH)]
        # Of those that wait for their slot, only the first begins.
        for handler_id in started[way.workflow][: 1 if way.workflow == "orders" else EACH]:
            async for event in server.api.stream(handler_id):
                if event.type == "InputRequiredEvent":
                    break
    for handler_id in started["holds"]:
        await server.api.send(handler_id, "Extra", n=7)
    return started


async def reasons(server: DurableServer, started: dict[str, list[str]]) -> dict[str, str]:
    """Return the reasons for which the runs are suspended, by handler, when all are."""
    found: dict[str, str] = {}
    async with asyncio.timeout(30):
        while len(found) < len(WAYS) * EACH:
            for handler_id in (one for ids in started.values() for one in ids):
                handler = await server.api.handler(handler_id)
                assert (handler["status"], handler["error"]) == ("running", None)
                if "it does not fit the code" in (handler["suspended"] or ""):
                    found[handler_id] = handler["suspended"]
            await asyncio.sleep(0.05)
    return found


@pytest.mark.slow(40)
@pytest.mark.timeout(240)
@pytest.mark.parametrize("idle_timeout", ["60", "0.3"])
async def test_every_changed_run_goes_on_when_its_code_is_put_back(
    tmp_path: Path, idle_timeout: str, survived: Survived
) -> None:
    """The runs that wait are in memory when the server is killed, or were released before."""
    target = write(tmp_path, changed=False)
    server = DurableServer(tmp_path, str(target), "--idle-timeout", idle_timeout)
    gate = tmp_path / "gate"
    # Sources that are written twice within a second look alike to Python.
    server.environment |= {"GATE": str(gate), "PYTHONDONTWRITEBYTECODE": "1"}
    async with server:
        started = await begin(server)
        names = {handler_id: name for name, ids in started.items() for handler_id in ids}
        waiting = [one for name in WAITING for one in started[name]]
        released = waiting if idle_timeout == "0.3" else []
        await until_released(server, len(released))
        assert await check(server, target) == (0, {"path": str(server.db), "unfinished": len(names), "suspended": []})

        # The gate of the deploy: the server still runs.
        write(tmp_path, changed=True)
        code, checked = await check(server, target)
        assert (code, checked["unfinished"]) == (1, len(names))
        await server.kill()
        before = files(server)
        assert await check(server, target) == (code, checked)
        assert files(server) == before

        await server.start()
        # The queued ones are found out when they get their slot.
        queued = EACH - 1
        unfit = len(names) - len(released) - queued
        assert (
            f"Resumed {len(released) + queued} runs; {unfit} suspended: {unfit} do not fit the code" in server.announced
        )
        for handler_id in waiting:
            # Those that were released are loaded for it. The changed code does not know the class that some await.
            kind = "HumanResponseEvent" if names[handler_id] == "awaits" else "Go"
            await server.api.send(handler_id, kind, n=7)
        found = await reasons(server, started)
        assert {one["handler_id"]: one["reason"] for one in checked["suspended"]} == found
        for way in WAYS:
            assert all(way.reason in found[handler_id] for handler_id in started[way.workflow]), way
        await nothing_spins(server, len(names))

        await server.kill()
        write(tmp_path, changed=False)
        await server.start()
        gate.touch()
        for handler_id in started["awaits"]:
            await server.api.send(handler_id, "Asked", n=7)
        for handler_id, name in names.items():
            assert await server.api.result(handler_id) == 7, name
    survived(
        f"code that stored runs do not fit, deployed and put back: {'released' if released else 'resumed'} runs",
        "P1 P2 P8",
        times=len(names),
        unit="runs",
        figures=f"{len(WAYS)} kinds of change, {len(waiting)} runs waited; check had named all of them",
    )


async def until_released(server: DurableServer, count: int) -> None:
    """Return when so many runs have left memory."""
    async with asyncio.timeout(30):
        while await metric(server, "released") < count:  # noqa: ASYNC110 another process has no event for a test
            await asyncio.sleep(0.05)


async def nothing_spins(server: DurableServer, count: int) -> None:
    """Check that each suspension was logged once, and that all of them are in the metrics."""
    assert await metric(server, "suspended") == count
    log = (server.folder / "server.log").read_text()
    assert len(re.findall(r"Handler \S+ is suspended: ", log)) == count


async def metric(server: DurableServer, state: str) -> float:
    """The number of runs in this state."""
    async with server.api.session.get(f"{server.api.url}/metrics") as response:
        text = await response.text()
    found = re.search(rf'^workflow_server_runs{{state="{state}"}} (\S+)$', text, re.MULTILINE)
    assert found is not None, text
    return float(found[1])
