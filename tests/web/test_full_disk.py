"""A full disk, as clients see it: new work is refused, reading goes on, and so does work when there is room."""

from __future__ import annotations

from pathlib import Path

from tests.harness.waiting import until_seen
from tests.store.failing import fill_up, make_room
from tests.web.conftest import Serve, Served
from workflow_server.store.sqlite.store import SqliteWorkflowStore

ANSWER = {"event": {"type": "Answered", "value": {"text": "x" * 50_000}}}
LARGE = {"start_event": {"text": "x" * 50_000}}


async def test_a_full_disk_is_507_for_new_work_alone_until_there_is_room(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    store = served.server._store
    assert isinstance(store, SqliteWorkflowStore)
    over = await served.finish("echo", text="before")
    waiting = await served.start("ask")
    await _asked(store, waiting)
    await fill_up(store)

    status, answer = await served.post("/workflows/echo/run-nowait", json=LARGE)
    assert status == 507
    assert "full" in answer["detail"]
    status, _ = await served.post(f"/events/{waiting}", json=ANSWER)
    assert status == 507
    assert (await served.get(f"/handlers/{over}"))[0] == 200
    assert (await served.get("/handlers"))[0] == 200
    status, health = await served.get("/health")
    assert status == 503
    assert "full" in str(health)

    await make_room(store)
    assert await _accepted(served) == 200
    assert len((await served.get("/handlers"))[1]["handlers"]) == 3, "what was refused is nowhere"


async def _asked(store: SqliteWorkflowStore, handler_id: str) -> None:
    """Return when the run has written all that it has to write before it waits."""

    async def has_asked() -> bool:
        return len(await store.read_events(handler_id, -1, 10)) == 4

    await until_seen(has_asked, "it never asked")


async def _accepted(served: Served) -> int:
    """The status with which a run is answered when the server has seen that there is room."""
    status = 507

    async def has_room() -> bool:
        nonlocal status
        status, _ = await served.post("/workflows/echo/run", json=LARGE)
        return status != 507

    await until_seen(has_room, "it never saw that there is room")
    return status
