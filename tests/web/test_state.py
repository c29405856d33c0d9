"""GET /handlers/{id}/state: ctx.store of runs that run, wait, were released or have ended, without secrets."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served
from workflow_server.store import PersistentHandler
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.web.access.token_file import add_token

Json = dict[str, Any]
SECRET = "hunter2"


class Account(BaseModel):
    name: str = "ann"
    password: str = SECRET
    pin: SecretStr = SecretStr(SECRET)


class Typed(BaseModel):
    count: int = 0
    api_key: str = SECRET
    accounts: list[Account] = [Account()]


class Answered(HumanResponseEvent):
    pass


class Next(Event):
    pass


class Keeps(Workflow):
    """Writes to its state, waits for an answer, writes again and ends, or fails or goes on for ever."""

    @step
    async def write(self, ctx: Context, ev: StartEvent) -> Next:
        await ctx.store.set("count", 1)
        await ctx.store.set("token", SECRET)
        await ctx.store.set("account", Account())
        await ctx.store.set("text", ev.get("text", ""))
        return Next()

    @step
    async def ask(self, ctx: Context, ev: Next) -> StopEvent:
        answer = await ctx.wait_for_event(Answered, timeout=None)
        await ctx.store.set("count", 2)
        if answer.get("how", "") == "fail":
            raise ValueError("as it was asked")
        if answer.get("how", "") == "stay":
            await asyncio.Event().wait()
        return StopEvent()


class KeepsTyped(Workflow):
    @step
    async def write(self, ctx: Context[Typed], ev: StartEvent) -> StopEvent:
        async with ctx.store.edit_state() as state:
            state.count += ev.get("by", 0)
        return StopEvent()


class KeepsMuch(Workflow):
    @step
    async def write(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("large", 5_000_000 * "x")
        await ctx.store.set("many", {f"key {number}": number * "y" for number in range(3_000)})
        nested: list[Any] = []
        for _ in range(140):
            nested = [nested]
        await ctx.store.set("deep", nested)
        await ctx.store.set("<script>alert(1)</script>", "\u202eevil\x00\ud800")
        return StopEvent()


def workflows() -> dict[str, Workflow]:
    return {"keeps": Keeps(timeout=None), "typed": KeepsTyped(), "much": KeepsMuch()}


async def state(served: Served, handler_id: str) -> Json:
    status, found = await served.get(f"/handlers/{handler_id}/state")
    assert status == 200, found
    assert isinstance(found, dict)
    assert SECRET not in str(found)
    return found


async def becomes(served: Served, handler_id: str, **expected: Any) -> None:
    async def look() -> bool:
        _, found = await served.get(f"/handlers/{handler_id}")
        return all(found[name] == value for name, value in expected.items())

    await until_seen(look, f"the handler never is {expected}")


async def waits(served: Served, handler_id: str) -> None:
    async def look() -> bool:
        _, found = await served.get(f"/handlers/{handler_id}")
        return bool(found["waiting_for"])

    await until_seen(look, "the run never waits")


async def answer(served: Served, handler_id: str, how: str = "") -> None:
    event = {"event": {"type": "Answered", "value": {"how": how}}}
    assert (await served.post(f"/events/{handler_id}", json=event))[0] == 200


KEPT = {
    "count": 1,
    "token": "(hidden)",
    "account": {"name": "ann", "password": "(hidden)", "pin": "(hidden)"},
    "text": "",
}


@pytest.mark.parametrize("idle_timeout", [0.0, 0.01])
async def test_a_run_that_waits_shows_its_state(serve: Serve, idle_timeout: float) -> None:
    served = await serve(workflows=workflows(), idle_timeout=idle_timeout)
    handler_id = await served.start("keeps")
    await waits(served, handler_id)
    before = datetime.now(UTC)
    found = await state(served, handler_id)
    _, handler = await served.get(f"/handlers/{handler_id}")
    assert before <= datetime.fromisoformat(found.pop("as_of")) <= datetime.now(UTC)
    assert found == {
        "handler_id": handler_id,
        "run_id": handler["run_id"],
        "state": KEPT,
        "kind": "dict",
        "truncated": False,
    }


@pytest.mark.parametrize(("how", "status", "count"), [("", "completed", 2), ("fail", "failed", 1)])
async def test_a_run_that_has_ended_keeps_its_state(serve: Serve, how: str, status: str, count: int) -> None:
    served = await serve(workflows=workflows())
    handler_id = await served.start("keeps")
    await waits(served, handler_id)
    await answer(served, handler_id, how)
    await becomes(served, handler_id, status=status)
    found = await state(served, handler_id)
    _, handler = await served.get(f"/handlers/{handler_id}")
    assert found["as_of"] == handler["completed_at"]
    assert found["state"]["count"] in {count, 2}


async def test_the_state_of_a_step_that_runs_is_not_there_yet(serve: Serve) -> None:
    served = await serve(workflows=workflows(), grace_period=0.1)
    handler_id = await served.start("keeps")
    await waits(served, handler_id)
    await answer(served, handler_id, "stay")

    async def look() -> bool:
        _, found = await served.get(f"/handlers/{handler_id}")
        return [one["step"] for one in found["running_steps"]] == ["ask"]

    await until_seen(look, "the step does not run")
    assert (await state(served, handler_id))["state"] == KEPT
    assert (await served.post(f"/handlers/{handler_id}/cancel"))[0] == 200
    assert (await state(served, handler_id))["state"]["token"] == "(hidden)"


async def test_a_typed_state_has_the_fields_of_its_class(serve: Serve) -> None:
    served = await serve(workflows=workflows())
    handler_id = await served.finish("typed", by=5)
    found = await state(served, handler_id)
    assert (found["kind"], found["state"]) == (
        "Typed",
        {
            "count": 5,
            "api_key": "(hidden)",
            "accounts": [{"name": "ann", "password": "(hidden)", "pin": "(hidden)"}],
        },
    )


async def test_a_run_that_wrote_nothing_has_an_empty_state(served: Served) -> None:
    found = await state(served, await served.finish("echo"))
    assert (found["kind"], found["state"], found["truncated"]) == ("dict", {}, False)


async def test_a_large_and_hostile_state_is_bounded(serve: Serve) -> None:
    served = await serve(workflows=workflows())
    handler_id = await served.finish("much")
    async with served.client.get(f"/handlers/{handler_id}/state") as response:
        body = await response.read()
    assert len(body) <= 1_000_000
    found = await state(served, handler_id)
    assert found["truncated"]
    assert found["state"]["large"] == 10_000 * "x" + "… (5,000,000 characters)"
    assert found["state"]["many"]["…"].endswith(" more)")
    assert found["state"]["many"]["key 5"] == "yyyyy"


async def test_a_state_that_is_too_large_is_not_read(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve(workflows=workflows())
    handler_id = await served.finish("much")
    for limit, most in (("LARGEST_READ", 1_000_000), ("MOST_PARTS", 1_000)):
        with monkeypatch.context() as within:
            within.setattr(f"workflow_server.runs.state_view.{limit}", most)
            status, found = await served.get(f"/handlers/{handler_id}/state")
        assert status == 409
        assert "more than can be shown" in found["detail"]
    assert (await served.get(f"/handlers/{handler_id}/state"))[0] == 200


async def test_states_without_their_workflow_are_shown_as_far_as_known(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3", workflows=workflows())
    kept = await first.start("keeps")
    await waits(first, kept)
    empty = await first.finish("echo")
    await first.runner.cleanup()
    with closing(sqlite3.connect(tmp_path / "runs.sqlite3")) as database, database:
        database.execute("UPDATE handlers SET workflow_name = 'gone'")
    second = await serve(db=tmp_path / "runs.sqlite3")
    assert (await state(second, kept))["state"] == KEPT
    status, found = await second.get(f"/handlers/{empty}/state")
    assert (status, "not registered" in found["detail"]) == (409, True)


async def test_a_handler_that_was_stored_without_a_state_has_none(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "runs.sqlite3")
    store = served.server._store
    assert isinstance(store, SqliteWorkflowStore)
    await store.update(PersistentHandler(handler_id="given", workflow_name="echo", status="completed", run_id="r"))
    status, found = await served.get("/handlers/given/state")
    assert (status, "Nothing is known" in found["detail"]) == (409, True)
    assert (await served.get("/handlers/nobody/state"))[0] == 404


async def test_a_damaged_state_is_refused_without_its_contents(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3", workflows=workflows())
    handler_id = await first.finish("typed", by=1)
    await first.runner.cleanup()
    for damaged in (f"[{SECRET}", f'["{SECRET}"]', '{"state": 5}', '{"state": {"model": []}}'):
        with closing(sqlite3.connect(tmp_path / "runs.sqlite3")) as database, database:
            database.execute("UPDATE state_records SET data = ?", (damaged,))
        second = await serve(db=tmp_path / "runs.sqlite3", workflows=workflows())
        status, found = await second.get(f"/handlers/{handler_id}/state")
        assert (status, SECRET in found["detail"]) == (409, False), damaged
        await second.runner.cleanup()


async def test_a_reader_may_not_see_states(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    run, read = (add_token(file, role, role) for role in ("run", "read"))
    served = await serve(token_file=str(file))
    for token, expected in ((read, 403), (run, 404)):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await served.get("/handlers/nobody/state", headers=headers))[0] == expected


async def test_many_ask_at_once(serve: Serve) -> None:
    served = await serve(workflows=workflows())
    handler_id = await served.finish("much")
    found = await asyncio.gather(*(state(served, handler_id) for _ in range(5)))
    assert all(one["state"] == found[0]["state"] for one in found)


async def test_an_unknown_parameter_is_refused(served: Served) -> None:
    handler_id = await served.finish("echo")
    assert (await served.get(f"/handlers/{handler_id}/state?key=a"))[0] == 400
