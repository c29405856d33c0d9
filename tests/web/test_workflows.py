"""The routes of the workflows: what there is, and starting them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.plain_http import post_json
from tests.web.conftest import Serve, Served
from tests.web.workflows import Ask


class Blocking(Workflow):
    """Blocks the event loop in its first step until its start was answered; returns whether it was."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = threading.Event()

    @step
    async def block(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=self.answered.wait(10))


async def test_health_is_200_while_the_store_can_commit(served: Served) -> None:
    assert await served.get("/health") == (200, {"status": "healthy"})


async def test_the_workflows_are_listed_in_the_order_of_their_adding(served: Served) -> None:
    assert await served.get("/workflows") == (200, {"workflows": ["count", "echo", "fail", "ask"]})


async def test_event_schemas_are_the_same_on_every_call(served: Served) -> None:
    status, first = await served.get("/workflows/ask/events")
    assert status == 200
    assert "Answered" in {schema["title"] for schema in first["events"]}
    for _ in range(3):
        assert await served.get("/workflows/ask/events") == (200, first)


class Hidden(Event):
    """An event that no code of a step names."""


KINDS: list[type[Event]] = [Hidden]


class AskForHidden(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=str(await ctx.wait_for_event(KINDS[0], timeout=None)))


async def test_events_that_only_a_wait_names_are_described_if_asked(serve: Serve) -> None:
    served = await serve(workflows={"asking": Ask(timeout=None), "other": AskForHidden(timeout=None)})
    assert "Answered" in await titles(served, "/workflows/asking/events?include=waited_for")
    assert await titles(served, "/workflows/asking/events") == await titles(served, "/workflows/ask/events") - {
        "Answered"
    }
    path = "/workflows/other/events"
    assert "Hidden" not in await titles(served, f"{path}?include=waited_for")
    handler_id = await served.start("other")
    async with asyncio.timeout(10):
        while not (await served.get(f"/handlers/{handler_id}"))[1]["waiting_for"]:  # noqa: ASYNC110 runs have no event
            await asyncio.sleep(0.01)
    assert "Hidden" in await titles(served, f"{path}?include=waited_for")
    assert "Hidden" not in await titles(served, path)
    status, answer = await served.get(f"{path}?include=all")
    assert status == 400
    assert "waited_for" in answer["detail"]


async def titles(served: Served, path: str) -> set[str]:
    status, answer = await served.get(path)
    assert status == 200
    return {schema["title"] for schema in answer["events"]}


async def test_the_schemas_name_the_workflows_own_start_and_stop(served: Served) -> None:
    status, schema = await served.get("/workflows/count/schema")
    assert status == 200
    assert (schema["start"]["title"], schema["stop"]["title"]) == ("CountTo", "CountedAll")
    assert set(schema["start"]["properties"]) == {"n", "text"}


async def test_the_representation_is_a_graph_of_steps_and_events(served: Served) -> None:
    status, representation = await served.get("/workflows/count/representation")
    assert status == 200
    assert "count" in {node["id"] for node in representation["graph"]["nodes"]}
    assert representation["graph"]["edges"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/workflows/none/events"),
        ("GET", "/workflows/none/schema"),
        ("GET", "/workflows/none/representation"),
        ("POST", "/workflows/none/run"),
        ("POST", "/workflows/none/run-nowait"),
    ],
)
async def test_an_unknown_workflow_is_404_and_points_to_the_known(served: Served, method: str, path: str) -> None:
    async with served.client.request(method, path) as response:
        assert response.status == 404
        assert "GET /workflows" in (await response.json())["detail"]


async def test_run_answers_200_with_the_completed_handler(served: Served) -> None:
    status, handler = await served.post("/workflows/count/run", json={"start_event": {"n": 2}})
    assert status == 200
    assert handler["status"] == "completed"
    assert handler["result"] == {
        "value": {"total": 2},
        "type": "CountedAll",
        "types": ["StopEvent"],
        "qualified_name": "tests.web.workflows.CountedAll",
    }
    assert handler["error"] is None
    assert handler["completed_at"].endswith("+00:00")


async def test_run_answers_500_with_the_failed_handler(served: Served) -> None:
    status, handler = await served.post("/workflows/fail/run")
    assert status == 500
    assert (handler["status"], handler["workflow_name"]) == ("failed", "fail")
    assert "the step failed" in handler["error"]


async def test_run_nowait_answers_200_with_the_running_handler(served: Served) -> None:
    status, handler = await served.post("/workflows/ask/run-nowait")
    assert status == 200
    assert (handler["status"], handler["result"], handler["completed_at"]) == ("running", None, None)
    assert len(handler["handler_id"]) == 10
    assert handler["run_id"]


@pytest.mark.parametrize(
    "body",
    [
        {"start_event": {"word": "hi"}},
        {"start_event": '{"word": "hi"}'},
        {"start_event": {"type": "StartEvent", "value": {"word": "hi"}}},
        {"start_event": {"type": "StartEvent", "data": {"word": "hi"}}},
        {"start_event": {"qualified_name": "workflows.events.StartEvent", "value": {"word": "hi"}}},
        {"start_event": '{"type": "StartEvent", "value": {"word": "hi"}}'},
        {"kwargs": {"word": "hi"}},
        {"start_event": {"word": "hi"}, "context": {}, "handler_id": None, "kwargs": {}},
        {"start_event": "", "kwargs": {"word": "hi"}},
    ],
)
async def test_a_start_event_may_be_written_in_every_way_of_the_contract(served: Served, body: object) -> None:
    status, handler = await served.post("/workflows/echo/run", json=body)
    assert status == 200, handler
    assert handler["result"]["value"]["result"] == {"word": "hi"}


@pytest.mark.parametrize("body", [None, "{}", '{"start_event": "", "context": {}}', '{"start_event": null}', " "])
async def test_no_start_event_is_one_without_fields(served: Served, body: str | None) -> None:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    status, handler = await served.post("/workflows/echo/run", data=body, headers=headers)
    assert status == 200, handler
    assert handler["result"]["value"]["result"] == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"start_event": {"n": "many"}}, ["'n'", "integer"]),
        ({"start_event": []}, ["start_event"]),
        ({"start_event": "[]"}, ["start_event"]),
        ({"start_event": "{"}, ["start_event", "JSON"]),
        ({"start_event": '{"n": NaN}'}, ["start_event", "NaN"]),
        ({"start_event": {"n": 1}, "kwargs": {"n": 2}}, ["start_event", "kwargs"]),
        ({"start_event": {}, "kwargs": {"n": 2}}, ["start_event", "kwargs"]),
        ({"start_event": "{}", "kwargs": {"n": 2}}, ["start_event", "kwargs"]),
        ({"kwargs": [1]}, ["kwargs"]),
        ({"context": "x"}, ["context"]),
        ({"context": {"state": {}}}, ["context"]),
        ({"handler_id": 7}, ["handler_id"]),
        ({"start_event": {"value": {"n": 2}}}, ["start_event", "'value'", "CountTo"]),
        ({"start_event": {"type": "CountedAll", "value": {"total": 2}}}, ["CountTo", "CountedAll"]),
        ({"start_event": {"__is_pydantic": True, "qualified_name": "os.system", "value": {}}}, ["CountTo"]),
    ],
)
async def test_what_starts_no_workflow_is_400_and_says_why(served: Served, body: object, words: list[str]) -> None:
    for path in ("/workflows/count/run", "/workflows/count/run-nowait"):
        status, answer = await served.post(path, json=body)
        assert status == 400
        for word in words:
            assert word in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_continuing_a_completed_handler_is_a_new_run_in_it(served: Served) -> None:
    _, first = await served.post("/workflows/echo/run")
    status, second = await served.post("/workflows/echo/run", json={"handler_id": first["handler_id"]})
    assert status == 200
    assert second["handler_id"] == first["handler_id"]
    assert second["run_id"] != first["run_id"]


async def test_continuing_an_unknown_or_foreign_handler_is_404(served: Served) -> None:
    other = await served.finish("count")
    for handler_id in ("nothing", other):
        status, answer = await served.post("/workflows/echo/run-nowait", json={"handler_id": handler_id})
        assert status == 404
        assert handler_id in answer["detail"]


@pytest.mark.parametrize("accept_context", [True, False])
async def test_a_context_beside_a_handler_to_continue_is_400(serve: Serve, accept_context: bool) -> None:
    served = await serve(accept_context=accept_context)
    handler_id = await served.finish("echo")
    before = await served.get(f"/handlers/{handler_id}")
    status, answer = await served.post("/workflows/echo/run", json={"handler_id": handler_id, "context": {"state": {}}})
    assert status == 400
    assert "'context'" in answer["detail"]
    assert "'handler_id'" in answer["detail"]
    assert await served.get(f"/handlers/{handler_id}") == before


async def test_an_id_that_a_client_chooses_is_taken_where_accepted(serve: Serve) -> None:
    served = await serve(accept_handler_ids=True)
    body = {"handler_id": "order~4711.A-b_c", "start_event": {"a": 1}}
    status, first = await served.post("/workflows/echo/run", json=body)
    assert (status, first["handler_id"]) == (200, "order~4711.A-b_c")
    status, second = await served.post("/workflows/echo/run", json=body)
    assert (status, second["handler_id"]) == (200, first["handler_id"])
    assert second["run_id"] != first["run_id"]
    assert (await served.post("/workflows/count/run", json={"handler_id": first["handler_id"]}))[0] == 404


@pytest.mark.parametrize("handler_id", ["a b", "a/b", ".", "..", "x" * 129, "é", "a\n", "a%2fb", "?"])
async def test_an_id_that_fits_into_no_url_is_400_and_starts_nothing(serve: Serve, handler_id: str) -> None:
    served = await serve(accept_handler_ids=True)
    status, answer = await served.post("/workflows/echo/run", json={"handler_id": handler_id})
    assert status == 400
    assert "'handler_id'" in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_of_starts_at_once_under_one_id_all_but_one_are_409(serve: Serve) -> None:
    served = await serve(accept_handler_ids=True)
    starts = [served.post("/workflows/ask/run-nowait", json={"handler_id": "one"}) for _ in range(10)]
    answers = await asyncio.gather(*starts)
    assert sorted(status for status, _ in answers) == [200, *[409] * 9]
    assert len((await served.get("/handlers"))[1]["handlers"]) == 1


async def test_the_same_key_with_a_new_id_starts_one_run(serve: Serve) -> None:
    served = await serve(accept_handler_ids=True)
    key, body = {"Idempotency-Key": "order-1"}, {"handler_id": "one"}
    answers = [await served.post("/workflows/echo/run", json=body, headers=key) for _ in range(3)]
    assert len({answer["run_id"] for _, answer in answers}) == 1


async def test_an_id_is_free_again_when_its_handler_was_deleted(serve: Serve) -> None:
    served = await serve(accept_handler_ids=True)
    for text in ("first", "second"):
        body = {"handler_id": "one", "start_event": {"n": 3, "text": text}}
        assert (await served.post("/workflows/count/run", json=body))[0] == 200
        async with served.client.get("/events/one?sse=false&acquire_timeout=1&include_internal=true") as response:
            events = [json.loads(line) for line in (await response.text()).splitlines()]
        assert [event["sequence"] for event in events] == list(range(len(events)))
        assert [event["value"]["text"] for event in events if event["type"] == "Counted"] == [text] * 3
        assert (await served.post("/handlers/one/cancel?purge=true"))[0] == 200


async def test_an_id_whose_handler_is_still_being_deleted_is_409(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db", accept_handler_ids=True)
    body = {"handler_id": "one"}
    await served.post("/workflows/echo/run", json=body)
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        # As a deletion that was interrupted leaves it.
        connection.execute("UPDATE handlers SET purging = 1")
    status, answer = await served.post("/workflows/echo/run", json=body)
    assert status == 409
    assert "being deleted" in answer["detail"]


async def test_continuing_a_running_handler_is_409(served: Served) -> None:
    handler_id = await served.start("ask")
    status, answer = await served.post("/workflows/ask/run-nowait", json={"handler_id": handler_id})
    assert status == 409
    assert "running" in answer["detail"]


@pytest.mark.parametrize("route", ["run", "run-nowait"])
async def test_a_repeated_idempotency_key_gives_the_first_answer_again(served: Served, route: str) -> None:
    key = {"Idempotency-Key": "order-1"}
    answers: list[Any] = [
        (await served.post(f"/workflows/echo/{route}", data=body, headers={**key, "Content-Type": "application/json"}))
        for body in ('{"start_event": {"a": 1, "b": 2}}', '{ "start_event": {"b":2,"a":1} }')
    ]
    assert [status for status, _ in answers] == [200, 200]
    assert answers[0][1]["run_id"] == answers[1][1]["run_id"]
    _, listed = await served.get("/handlers")
    assert len(listed["handlers"]) == 1


async def test_an_idempotency_key_with_another_body_is_422(served: Served) -> None:
    key = {"Idempotency-Key": "order-1"}
    await served.post("/workflows/echo/run", json={"start_event": {"a": 1}}, headers=key)
    status, answer = await served.post("/workflows/echo/run", json={"start_event": {"a": 2}}, headers=key)
    assert status == 422
    assert "another body" in answer["detail"]
    assert "order-1" not in answer["detail"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
async def test_an_idempotency_key_out_of_its_bounds_is_400(served: Served, key: str) -> None:
    status, answer = await served.post("/workflows/echo/run", headers={"Idempotency-Key": key})
    assert status == 400
    assert "Idempotency-Key" in answer["detail"]


async def test_a_run_that_was_acknowledged_is_there_after_a_restart(serve: Serve, tmp_path: Any) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3")
    handler_id = await first.start("ask")
    await first.runner.cleanup()
    second = await serve(db=tmp_path / "runs.sqlite3")
    status, handler = await second.get(f"/handlers/{handler_id}")
    assert (status, handler["status"]) == (202, "running")


@pytest.mark.parametrize("db", [None, "blocking.sqlite3"])
async def test_a_start_is_answered_before_its_first_step_begins(serve: Serve, tmp_path: Path, db: str | None) -> None:
    workflow = Blocking()
    served = await serve(None if db is None else tmp_path / db, workflows={"blocking": workflow})

    def start() -> str:
        answer = post_json(f"http://127.0.0.1:{served.port}/workflows/blocking/run-nowait", {})
        workflow.answered.set()
        return str(answer["handler_id"])

    handler_id = await asyncio.to_thread(start)
    async with served.client.get(f"/events/{handler_id}", params={"sse": "false"}) as stream:
        last = (await stream.text()).splitlines()[-1]
    assert json.loads(last)["value"]["result"] is True
