"""GET /handlers/{handler_id}/history: pages in both directions, values where they are asked for, strict parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, model_serializer
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.web.conftest import Serve, Served
from workflow_server.protocol.history import HistoryEntry
from workflow_server.web.openapi import openapi_schema

Json = dict[str, Any]


class Login(Event):
    user: str
    password: SecretStr
    ratio: float = float("nan")


class Publishes(Workflow):
    @step
    async def publish(self, ctx: Context, ev: StartEvent) -> StopEvent:
        ctx.write_event_to_stream(Login(user="ann", password=SecretStr("hunter2")))
        return StopEvent(result=[1, "two"])


class Signs(StartEvent):
    name: str
    password: SecretStr = SecretStr("")


class Forgetful(StartEvent):
    """As the start event of agents does, its class writes a field that it need not have."""

    @model_serializer()
    def write(self) -> Json:
        return {"question": self.question, "history": self.history}


class Asked(Workflow):
    @step
    async def ask(self, ev: Forgetful) -> StopEvent:
        return StopEvent(result=ev.get("question"))


class MayFail(Workflow):
    @step
    async def sign(self, ev: Signs) -> StopEvent:
        if ev.name == "bob":
            raise ValueError("not bob")
        return StopEvent(result=ev.name)


@pytest.fixture
async def publishing(serve: Serve) -> Served:
    return await serve(workflows={"publishing": Publishes()})


async def history(served: Served, handler_id: str, query: str) -> list[Json]:
    """All of a history, page by page."""
    found: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        status, page = await served.get(f"/handlers/{handler_id}/history?{query}&cursor={cursor}")
        assert status == 200, page
        found += page["history"]
        cursor = page["next_cursor"]
    return found


async def test_pages_have_each_entry_once_in_either_order(served: Served) -> None:
    handler_id = await served.finish("count", to=5)
    entries = await history(served, handler_id, "limit=500")
    assert [list(entry) for entry in entries] == [list(HistoryEntry.model_fields)] * len(entries)
    assert [entry["kind"] for entry in entries][:2] == ["started", "step_began"]
    assert entries[-1]["kind"] == "completed"
    for limit in (1, 3):
        assert await history(served, handler_id, f"limit={limit}") == entries
        assert await history(served, handler_id, f"limit={limit}&order=desc") == entries[::-1]
    for place, entry in enumerate(entries):
        _, page = await served.get(f"/handlers/{handler_id}/history?cursor={entry['cursor']}")
        assert page == {"history": entries[place + 1 :], "next_cursor": None}


async def starts(served: Served, handler_id: str) -> list[Any]:
    """The start events of all runs of a handler."""
    entries = await history(served, handler_id, "include=value")
    assert {entry["value"] for entry in await history(served, handler_id, "") if entry["kind"] == "started"} == {None}
    return [entry["value"] for entry in entries if entry["kind"] == "started"]


async def test_a_run_can_be_started_again_with_its_input(served: Served) -> None:
    handler_id = await served.finish("count", n=2, text="ein Wort")
    _, page = await served.get(f"/handlers/{handler_id}/history?limit=1&include=value")
    (started,) = page["history"]
    assert started["kind"] == "started"
    assert started["value"] == {
        "value": {"n": 2, "text": "ein Wort"},
        "type": "CountTo",
        "types": ["StartEvent"],
        "qualified_name": "tests.web.workflows.CountTo",
    }
    status, again = await served.post("/workflows/count/run", json={"start_event": started["value"]})
    assert (status, again["result"]["value"]) == (200, {"total": 2})
    assert await starts(served, again["handler_id"]) == [started["value"]]


async def test_each_run_of_a_handler_keeps_its_start_event(serve: Serve) -> None:
    served = await serve(workflows={"signing": MayFail()})
    handler_id = await served.finish("signing", name="ann", password="hunter2")
    body = {"handler_id": handler_id, "start_event": {"name": "bob"}}
    assert (await served.post("/workflows/signing/run", json=body))[0] == 500
    assert (await served.post(f"/handlers/{handler_id}/retry", json={}))[0] == 200
    found = [event["value"] for event in await starts(served, handler_id)]
    ann, bob = {"name": "ann", "password": "**********"}, {"name": "bob", "password": ""}
    assert found == [ann, bob, bob]


async def test_a_start_event_that_its_class_cannot_write_is_there(serve: Serve) -> None:
    served = await serve(workflows={"asked": Asked()})
    handler_id = await served.finish("asked", question="why?", password="hunter2")
    (value,) = await starts(served, handler_id)
    assert (value["type"], value["value"]) == ("Forgetful", {"question": "why?", "password": "(hidden)"})
    _, again = await served.post("/workflows/asked/run", json={"start_event": value})
    assert again["result"]["value"] == {"result": "why?"}


async def test_a_start_event_that_cannot_be_read_is_null(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "runs.sqlite3", workflows={"signing": MayFail()})
    handler_id = await first.finish("signing", name="ann")
    await first.runner.cleanup()
    second = await serve(db=tmp_path / "runs.sqlite3")
    assert await starts(second, handler_id) == [None]
    assert (await second.get(f"/handlers/{handler_id}"))[0] == 200


async def test_values_are_those_of_the_stream_with_secrets_masked(publishing: Served) -> None:
    handler_id = await publishing.finish("publishing")
    entries = await history(publishing, handler_id, "include=value")
    text = json.dumps(entries)
    assert "hunter2" not in text
    events = {entry["sequence"]: entry for entry in entries if entry["sequence"] is not None}
    path = f"/events/{handler_id}?sse=false&include_internal=true&after_sequence=-1"
    async with publishing.client.get(path) as response:
        lines = [json.loads(line) for line in (await response.text()).splitlines()]
    assert {line["sequence"]: (line["value"], line["time"]) for line in lines} == {
        sequence: (entry["value"], entry["time"]) for sequence, entry in events.items()
    }
    (login,) = [entry for entry in entries if entry["event"] == "Login"]
    assert login["kind"] == "event_published"
    assert login["value"] == {"user": "ann", "password": "**********", "ratio": "NaN"}
    assert all(entry["value"] is None for entry in await history(publishing, handler_id, ""))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=٣", "limit"),
        ("limit=1&limit=2", "limit"),
        ("order=newest", "order"),
        ("include=result", "include"),
        ("cursor=7", "cursor"),
        ("cursor=1.2.3", "cursor"),
        ("cursor=-1.0", "cursor"),
        ("cursor=" + "9" * 19 + ".0", "cursor"),
        ("kind=failed", "Unknown query parameter"),
    ],
)
async def test_other_parameters_are_refused(served: Served, query: str, said: str) -> None:
    handler_id = await served.finish("echo", text="x")
    status, answer = await served.get(f"/handlers/{handler_id}/history?{query}")
    assert (status, said in answer["detail"]) == (400, True), answer


async def test_the_extremes_of_cursors_are_places_too(served: Served) -> None:
    handler_id = await served.finish("echo", text="x")
    last = "9" * 18
    _, page = await served.get(f"/handlers/{handler_id}/history?cursor={last}.{last}")
    assert page == {"history": [], "next_cursor": None}
    _, page = await served.get(f"/handlers/{handler_id}/history?cursor={last}.{last}&order=desc")
    assert page["history"][-1]["kind"] == "started"
    status, answer = await served.get("/handlers/nobody/history")
    assert (status, answer["detail"]) == (404, "Handler 'nobody' not found.")


def test_the_description_has_every_key_of_an_entry() -> None:
    schema = openapi_schema()["components"]["schemas"]["HistoryEntry"]
    assert list(schema["properties"]) == list(HistoryEntry.model_fields)
