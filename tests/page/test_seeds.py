"""The databases of the tests of the page are as full as they say, and sound; the workflows do what their tests need."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.api import Reader
from tests.harness.server_process import DurableServer
from tests.harness.spawning import COMMAND
from tests.harness.waiting import until_seen
from tests.page.conftest import FLOWS
from tests.page.hostile import MARKUP, TAGS
from tests.page.seeds import add_events, add_executions, add_handlers


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
        yield served


async def test_added_handlers_ended_in_the_last_day_in_all_ways(server: DurableServer) -> None:
    await add_handlers(server, 1_000)
    for status in ("completed", "failed", "cancelled"):
        page = await server.api.wants("GET", f"/handlers?status={status}&limit=500")
        assert len(page["handlers"]) > 50
        assert all(handler["completed_at"] > handler["started_at"] for handler in page["handlers"])
    assert len((await server.api.wants("GET", "/handlers?tag=team-0&limit=500"))["handlers"]) > 20
    assert sound(server)


async def test_an_added_run_has_its_executions_and_their_retries(server: DurableServer) -> None:
    handler_id = await add_executions(server, 120)
    events = await server.api.events(handler_id, internal=True)
    assert [event.sequence for event in events] == list(range(len(events)))
    states = [event.value["step_state"] for event in events if event.value.get("name") == "work"]
    assert states.count("running") == states.count("not_running") == 120
    history = (await server.api.wants("GET", f"/handlers/{handler_id}/history?limit=500"))["history"]
    assert sum(entry["kind"] == "attempt_failed" for entry in history) == 20
    times = [entry["time"] for entry in history]
    assert times == sorted(times)
    assert sound(server)


async def test_an_added_run_has_its_events(server: DurableServer) -> None:
    events = await server.api.events(await add_events(server, 1_000))
    assert [event.value["number"] for event in events[:-1]] == list(range(1_000))


def sound(server: DurableServer) -> bool:
    command = [*COMMAND, "db", "check", "--json", "--db", str(server.db)]
    return bool(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["sound"])


async def test_workflows_wait_where_the_test_says_and_go_on(server: DurableServer) -> None:
    api = server.api
    chain, batch, loop = [(await api.start(name, gate=name))["handler_id"] for name in ("chain", "fan_out", "loop")]
    for name in ("chain", "fan_out", "loop"):
        await server.ledger.reached(name)
    assert {chain, batch, loop} <= {handler["handler_id"] for handler in await api.running()}
    server.ledger.open("chain", "fan_out", "loop")
    assert (await api.finished(chain))["result"]["value"] == {"word": "Once", "times": 1}
    assert await api.result(batch) == {"count": 20, "attempts": 24}
    assert await api.result(loop) == 100
    assert (await api.finished((await api.start("failing"))["handler_id"]))["status"] == "failed"
    assert "after 2 attempts" in await api.result((await api.start("recovering"))["handler_id"])
    assert await api.result((await api.start("forty"))["handler_id"]) == 35
    graph = (await api.wants("GET", "/workflows/forty/representation"))["graph"]
    assert sum(node["node_type"] == "step" for node in graph["nodes"]) == 40


async def test_workflows_ask_and_take_the_answer(server: DurableServer) -> None:
    api = server.api
    ask, pay = [(await api.start(name))["handler_id"] for name in ("ask", "pay")]
    await Reader(api, ask).until("Question")
    await Reader(api, pay).until("PaymentDue")
    await api.send(ask, "Note", text="later")
    await api.send(ask, "Verdict", approved=True, reviewer="Ada")
    await api.send(pay, "Payment", order="another", received=1)
    await api.send(pay, "Payment", order="A-17", received=12.5)
    assert (await api.result(ask), await api.result(pay)) == ("sent, says Ada", "12.50 by card")
    assert "nobody paid" in await api.result((await api.start("pay", seconds=0.1))["handler_id"])


async def test_hostile_text_is_everywhere(server: DurableServer) -> None:
    for end, status in (("complete", "completed"), ("fail", "failed")):
        body = {"start_event": {"end": end}, "tags": list(TAGS)}
        started = await server.api.wants("POST", "/workflows/hostile/run-nowait", body)
        ended = await server.api.finished(started["handler_id"])
        assert (ended["status"], MARKUP[0] in str(ended["result"] or ended["error"])) == (status, True)
    big = (await server.api.start("hostile", end="hold", big=True))["handler_id"]
    await server.ledger.reached("hostile")

    async def told() -> bool:
        history = await server.api.wants("GET", f"/handlers/{big}/history?limit=500")
        return [entry["event"] for entry in history["history"]].count("Told") == 5

    await until_seen(told, "the events of the step that is held were not stored")
