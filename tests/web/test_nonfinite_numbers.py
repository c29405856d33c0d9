"""NaN and infinities in what clients read: strings, so that every answer is valid JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import ConfigDict
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.api import as_listed
from tests.web.conftest import Serve


class Measured(Event):
    loss: float


class MeasuredAsConstants(Measured):
    model_config = ConfigDict(ser_json_inf_nan="constants")


class Train(Workflow):
    """Publishes what no JSON number can be, and ends with it."""

    @step
    async def train(self, ctx: Context, ev: StartEvent) -> StopEvent:
        for loss in (math.nan, -math.inf):
            ctx.write_event_to_stream(Measured(loss=loss))
            ctx.write_event_to_stream(MeasuredAsConstants(loss=loss))
        return StopEvent(result={"loss": math.nan, "best": [math.inf, MeasuredAsConstants(loss=math.nan)]})


async def test_every_answer_is_valid_json_and_the_run_completes(serve: Serve) -> None:
    served = await serve(workflows={"train": Train()})
    async with served.client.post("/workflows/train/run", json={}) as response:
        handler = strict(await response.text())
    result = {"loss": "NaN", "best": ["Infinity", {"loss": "NaN"}]}
    assert (handler["status"], handler["error"]) == ("completed", None)
    assert handler["result"]["value"] == {"result": result}
    handler_id = handler["handler_id"]
    assert as_listed(strict(await text_of(served.client, f"/handlers/{handler_id}"))) == handler
    assert strict(await text_of(served.client, f"/results/{handler_id}"))["result"] == result
    assert strict(await text_of(served.client, "/handlers"))["handlers"] == [handler]
    lines = (await text_of(served.client, f"/events/{handler_id}?sse=false")).splitlines()
    assert [strict(line)["value"] for line in lines] == [
        *({"loss": loss} for loss in ("NaN", "NaN", "-Infinity", "-Infinity")),
        {"result": result},
    ]
    sse = (await text_of(served.client, f"/events/{handler_id}?sse=true")).splitlines()
    data = [strict(line.removeprefix("data: ")) for line in sse if line.startswith("data: ")]
    assert [event["value"] for event in data] == [strict(line)["value"] for line in lines]


async def text_of(client: Any, path: str) -> str:
    async with client.get(path) as response:
        assert response.status == 200
        return str(await response.text())


def strict(text: str) -> Any:
    """The value of a text that has no number but those of JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in {text}")

    return json.loads(text, parse_constant=refuse)
