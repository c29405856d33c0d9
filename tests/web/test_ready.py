"""GET /ready: 200 while work is taken, 503 with the reason otherwise, and nothing else to those without a token."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tests.harness.waiting import until_seen
from tests.store.failing import failing, fill_up, make_room
from tests.store.fault_injection import HookedStore
from tests.web.conftest import Serve, Served
from workflow_server.errors import StorageError, StorageFull, StoreClosed
from workflow_server.records import ServerAlive
from workflow_server.runs import readiness
from workflow_server.runs.manager import RuntimeManager
from workflow_server.runs.readiness import why_not_ready
from workflow_server.server import WorkflowServer
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.web.app import create_app
from workflow_server.web.state import WebSettings

READY = (200, {"status": "ready"})
LARGE = {"start_event": {"text": "x" * 50_000}}


async def test_a_server_that_takes_work_is_ready(served: Served) -> None:
    assert await served.get("/ready") == READY
    async with served.client.head("/ready") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_it_is_not_ready_before_its_runs_go_on_nor_after_it_stops(tmp_path: Path) -> None:
    store = SqliteWorkflowStore(tmp_path / "db")
    manager = RuntimeManager(store)
    async with TestClient(TestServer(create_app(manager, WebSettings()))) as client:

        async def reason() -> str | None:
            async with client.get("/ready") as response:
                body = await response.json()
                assert response.status == (200 if body["status"] == "ready" else 503)
                return str(body["detail"]) if response.status == 503 else None

        assert await reason() == readiness.STARTING
        manager.listen()
        await store.open()
        assert await reason() == readiness.STARTING
        await manager.resume()
        assert await reason() is None
        manager.close()
        assert await reason() == readiness.STOPPING
        await manager.stop(0.0)
        await store.close()
        assert await reason() == readiness.STOPPING


async def test_a_full_disk_is_a_reason_until_there_is_room(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    store = served.server._store
    assert isinstance(store, SqliteWorkflowStore)
    await fill_up(store)
    assert (await served.post("/workflows/echo/run-nowait", json=LARGE))[0] == 507
    assert await served.get("/ready") == (503, {"status": "unready", "detail": readiness.FULL})
    await make_room(store)

    async def is_ready() -> bool:
        return await served.get("/ready") == READY

    await until_seen(is_ready, "it never saw that there is room")


async def test_a_store_that_fails_is_a_reason_that_names_no_file(tmp_path: Path) -> None:
    store = HookedStore(tmp_path / "canary.db", persistence_backoff=())
    server = WorkflowServer(workflow_store=store)
    async with TestClient(TestServer(server.app)) as client:
        store.hook = failing(sqlite3.SQLITE_IOERR_FSYNC, at="inside commit")
        with pytest.raises(StorageError):
            await store.append(ServerAlive(0.0))
        async with client.get("/ready") as response:
            assert response.status == 503
            assert await response.json() == {"status": "unready", "detail": readiness.FAILED}


@pytest.mark.parametrize("tokens", [{"tokens": ("a-token-that-may-do-all",)}, {"read_tokens": ("one-that-may-read",)}])
async def test_it_needs_no_token_and_says_as_much_with_a_wrong_one(serve: Serve, tokens: dict[str, object]) -> None:
    served = await serve(**tokens)
    assert await served.get("/ready") == READY
    assert await served.get("/ready", headers={"Authorization": "Bearer wrong"}) == READY
    assert (await served.post("/ready"))[0] == 401
    assert (await served.get("/ready", headers={"Host": "evil.example.org"}))[0] == 403


@pytest.mark.parametrize(
    ("problem", "has_resumed", "is_closing", "reason"),
    [
        (None, True, False, None),
        (None, False, False, readiness.STARTING),
        (str(StoreClosed()), False, False, readiness.STARTING),
        ("unable to open /srv/data.db", False, False, readiness.STARTING),
        ("unable to open /srv/data.db", True, False, readiness.FAILING),
        (str(StoreClosed()), True, False, readiness.FAILING),
        (str(StorageFull()), True, False, readiness.FULL),
        (str(StorageFull()), False, False, readiness.FULL),
        (None, True, True, readiness.STOPPING),
        (str(StoreClosed()), True, True, readiness.STOPPING),
        ("unable to open /srv/data.db", True, True, readiness.FAILED),
    ],
)
def test_each_state_has_its_reason(
    problem: str | None, has_resumed: bool, is_closing: bool, reason: str | None
) -> None:
    assert why_not_ready(problem, has_resumed=has_resumed, is_closing=is_closing) == reason
