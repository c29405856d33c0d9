"""The databases in ``fixtures/`` are taken up: whatever their runs held comes back, and they go on to their end."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness.api import Api, Json
from tests.harness.server_process import DurableServer
from tests.upgrades.making import TARGET
from tests.upgrades.workflows import Declared, Item, Order, Point, Steps, declared, order, typed

FIXTURES = sorted(folder for folder in (Path(__file__).parent / "fixtures").iterdir() if folder.is_dir())

Served = Callable[[], DurableServer]


@pytest.fixture(params=FIXTURES, ids=lambda folder: folder.name)
def fixture(request: pytest.FixtureRequest) -> Path:
    """The folder of a database that an earlier build wrote."""
    folder: Path = request.param
    return folder


@pytest.fixture
def handlers(fixture: Path) -> dict[str, str]:
    """Its handlers by name."""
    found: dict[str, str] = json.loads((fixture / "handlers.json").read_text())
    return found


@pytest.fixture
def server(fixture: Path, tmp_path: Path) -> DurableServer:
    """A server over a copy of it, not yet started."""
    server = DurableServer(tmp_path, TARGET)
    shutil.copyfile(fixture / "runs.sqlite3", server.db)
    server.db.chmod(0o600)
    return server


def own_order() -> Order:
    """The order of a start event that a client sent."""
    placed = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    return Order(title="own", placed=placed, labels={1, 2}, price=Decimal("0.30"))


def counted() -> list[str]:
    """The typed state after counting down from 170."""
    numbers = list(range(170, -1, -1))
    state = Steps(
        count=171,
        numbers=numbers[-21:],
        points={f"p{number % 5}": Point(x=number) for number in numbers},
        seen=set(range(7)),
        last=Item(number=0, point=Point(x=0, y=1)),
        when=datetime.fromisoformat("2026-05-05T05:05:05+00:00"),
    )
    return [typed(getattr(state, name)) for name in Steps.model_fields]


def written() -> list[str]:
    """Return the contents of the dictionary state after counting down from 270."""
    nested = {"list": [Point(x=1), {"deep": order()}], "text": "ü", "none": None, "float": 1.0}
    marker = {"__is_pydantic": True, "value": {}, "qualified_name": "os.system"}
    values = (order(), Item(number=1, point=Point(x=2)), nested, marker, {"depth": 3}, 271, Item(number=0))
    return [typed(value) for value in values]


def three_items(last: Item) -> list[list[str]]:
    """The items that were collected."""
    items = [Item(number=number, point=Point(x=number)) for number in range(2)]
    return [[typed(item.number), typed(item.point)] for item in (*items, last)]


FIELDS = [typed(getattr(declared(), name)) for name in Declared.model_fields]
LONG_ITEMS = [Item(number=0, point=Point(x=0)), Item(number=1, point=Point(x=1)), Item(number=2, point=Point(x=1, y=2))]
RECEIPT = {"order": own_order().model_dump(mode="json"), "amount": "12.50", "day": "2026-02-28"}
RECEIPT["note"] = f"{typed(Decimal('12.50'))}, yes"

APPROVALS: dict[str, list[tuple[int, str]]] = {
    # The first does not meet what is required.
    "released": [(99, "no"), (1, "yes")],
    "released_returned": [(8, "yes")],
    "released_long_plain": [(99, "no"), (1, "yes")],
    "released_carries": [(0, "")],
    "released_own_types": [(99, "no"), (1, "yes")],
    "waiting": [(99, "no"), (3, "yes")],
    "returned": [(9, "yes")],
    "long_typed": [(99, "no"), (2, "beside"), (1, "yes")],
    "carries": [(0, "")],
    "carries_undeclared": [(0, "")],
    "rescues": [(0, "yes")],
    "own_types": [(99, "no"), (1, "yes")],
    "gathers": [(7, "")],
    "queued": [(50, ""), (60, "")],
}
"""Numbers and texts that the waiting runs are sent."""

RESULTS: dict[str, Any] = {
    "released": [1, "yes"],
    "released_returned": [["once"], 8, "yes"],
    "released_long_plain": ["yes", sum(range(271)), *written()],
    "released_carries": FIELDS,
    "released_own_types": RECEIPT,
    "waiting": [3, "yes"],
    "returned": [["once"], 9, "yes"],
    "long_typed": ["yes", [typed(item) for item in LONG_ITEMS], *counted()],
    "carries": FIELDS,
    "carries_undeclared": [
        1,
        "ü",
        {"list": [1, 2.5, None, {"a": True}]},
        [{"x": 1, "y": 0}],
        ["items", "nested", "number", "text"],
    ],
    "rescues": ["yes", "fail", "LookupError", "no Zwölf Bücher ☃", typed(order())],
    "own_types": RECEIPT,
    "gathers": three_items(Item(number=7)),
    "joins": [[0, 1, 2, 3], 4],
    "inbox": [1, 2, 3],
    "queued_with_inbox": [10, 20, 30],
    "queued": [40, 50, 60],
    "retries": [1, "failure 0"],
    "expires": [5, "timed out"],
}
"""Results of the runs."""


async def answered(api: Api, handler_id: str, approvals: list[tuple[int, str]]) -> Any:
    """The result of a run that is sent these approvals."""
    for number, text in approvals:
        await api.send(handler_id, "Approval", number=number, text=text)
    handler = await api.finished(handler_id)
    assert handler["status"] == "completed", handler
    value = handler["result"]["value"]
    return value.get("result", value)


async def test_what_waited_or_was_queued_goes_on_with_all_that_it_held(
    server: DurableServer, handlers: dict[str, str]
) -> None:
    async with server:
        assert server.resumed == len(RESULTS)
        results = await asyncio.gather(
            *(answered(server.api, handlers[name], APPROVALS.get(name, [])) for name in RESULTS)
        )
    for name, result in zip(RESULTS, results, strict=True):
        assert result == RESULTS[name], name


async def continued(api: Api, workflow: str, handler_id: str) -> Any:
    """The result of one run more in the handler."""
    body = {"handler_id": handler_id}
    handler = await api.wants("POST", f"/workflows/{workflow}/run", body)
    return handler["result"]["value"]["result"]


async def test_what_was_completed_is_continued_with_its_state(server: DurableServer, handlers: dict[str, str]) -> None:
    points = [*order().points, *(Point(x=run) for run in (1, 2, 3))]
    items = [typed(Item(number=run, point=Point(x=run))) for run in (1, 2, 3)]
    async with server:
        typed_state = await continued(server.api, "continues_typed", handlers["continues_typed"])
        plain_state = await continued(server.api, "continues_plain", handlers["continues_plain"])
        events = await server.api.events(handlers["continues_plain"])
    days = [date(2026, 1, run) for run in (1, 2, 3)]
    assert typed_state == [3, typed(days), typed(order().model_copy(update={"points": points}))]
    assert plain_state == [3, items]
    assert [event.sequence for event in events] == list(range(events[0].sequence, events[-1].sequence + 1))
    assert events[0].sequence > 0


async def test_what_had_ended_is_shown_as_it_was_and_can_be_deleted(
    server: DurableServer, handlers: dict[str, str]
) -> None:
    async with server:
        ended = {name: await server.api.handler(handlers[name]) for name in ("fails", "times_out", "cancelled")}
        logs = {name: await server.api.events(handlers[name]) for name in ended}
        status, answer = await server.api.call("POST", f"/handlers/{handlers['fails']}/cancel?purge=true")
        assert (status, answer) == (200, {"status": "deleted"})
        status, _ = await server.api.call("GET", f"/handlers/{handlers['fails']}")
        assert status == 404
    assert {name: handler["status"] for name, handler in ended.items()} == {
        "fails": "failed",
        "times_out": "failed",
        "cancelled": "cancelled",
    }
    assert ended["fails"]["error"] == "it was so"
    assert {name: log[-1].type for name, log in logs.items()} == {
        "fails": "WorkflowFailedEvent",
        "times_out": "WorkflowTimedOutEvent",
        "cancelled": "WorkflowCancelledEvent",
    }


async def test_idempotency_keys_are_known_still(server: DurableServer, handlers: dict[str, str]) -> None:
    start, event = "/workflows/waits/run-nowait", f"/events/{handlers['queued']}"
    posted = {"event": {"type": "Approval", "value": {"number": 40}}}

    async def again(path: str, key: str, body: Json) -> tuple[int, Json]:
        return await server.api.call("POST", path, body, headers={"Idempotency-Key": key})

    async with server:
        status, handler = await again(start, "key-of-a-start", {"start_event": {"number": 3}})
        assert (status, handler["handler_id"]) == (200, handlers["waiting"])
        assert (await again(start, "key-of-a-start", {"start_event": {"number": 4}}))[0] == 422
        assert await again(event, "key-of-an-event", posted) == (200, {"status": "sent"})
        assert (await again(event, "key-of-an-event", {**posted, "step": "take"}))[0] == 422


async def test_the_file_stays_one_of_this_server_and_whole(server: DurableServer) -> None:
    async with server:
        assert await server.stop() == 0
    with closing(sqlite3.connect(server.db)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (0x77665356,)
        assert connection.execute("PRAGMA user_version").fetchone()[0] >= 1
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
