"""Schemas and graphs, also of what JSON does not know."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field
from workflows import Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.resource import ResourceConfig

from tests.web.conftest import Serve


class Connection:
    """A class of the user's that pydantic knows nothing of."""


class Opened(Event):
    """Carries what cannot be described."""

    connection: Connection | None = None
    callback: Callable[[int], int] = abs
    name: str


class OpenAll(StartEvent):
    connections: list[Connection] | None = None
    count: int


class Done(StopEvent):
    connection: Connection | None = None
    total: int


class Odd(Workflow):
    @step
    async def open(self, ev: OpenAll) -> Opened:
        return Opened(name="x")

    @step
    async def close(self, ev: Opened) -> Done:
        return Done(total=1)


class Setting(BaseModel):
    """The engine asks this one for its schema itself."""

    level: int
    callback: Callable[[int], int] = Field(default=abs, validate_default=False)


def with_config(path: Path) -> Workflow:
    class Configured(Workflow):
        @step
        async def only(
            self, ev: StartEvent, setting: Annotated[Setting, ResourceConfig(config_file=str(path))]
        ) -> StopEvent:
            return StopEvent(result=setting.level)

    return Configured()


async def test_a_field_without_a_schema_leaves_the_others_theirs(serve: Serve) -> None:
    served = await serve(workflows={"odd": Odd()})
    status, events = await served.get("/workflows/odd/events")
    assert status == 200
    opened = next(event for event in events["events"] if event["title"] == "Opened")
    assert opened["properties"]["name"] == {"title": "Name", "type": "string"}
    assert {"connection", "callback"} <= opened["properties"].keys()
    status, schema = await served.get("/workflows/odd/schema")
    assert status == 200
    assert schema["start"]["properties"]["count"] == {"title": "Count", "type": "integer"}
    assert schema["stop"]["properties"]["total"] == {"title": "Total", "type": "integer"}


async def test_a_graph_that_cannot_be_made_is_404_and_says_so(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "setting.json"
    path.write_text('{"level": 1}')
    served = await serve(workflows={"configured": with_config(path), "odd": Odd()})
    for name in ("configured", "odd"):
        status, answer = await served.get(f"/workflows/{name}/representation")
        assert status == 404
        assert f"'{name}'" in answer["detail"]
        assert str(tmp_path) not in answer["detail"]
