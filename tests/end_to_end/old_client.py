"""Uses every method of the Python client of llama-index-workflows 2.11.1, and prints what each returned as JSON.

It runs in an environment of its own: ``python old_client.py URL``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

import httpx


async def try_everything(url: str) -> dict[str, Any]:
    """Return the result of each call."""
    client = importlib.import_module("workflows.client").WorkflowClient(base_url=url)
    events = importlib.import_module("workflows.events")
    greeting = type("Greeting", (events.StartEvent,), {"__annotations__": {"name": str}})
    seen: dict[str, Any] = {
        "health": await client.is_healthy(),
        "workflows": await client.list_workflows(),
        "run_fields": await client.run_workflow("greet", start_event={"name": "Ada"}),
        "run_event": await client.run_workflow("greet", start_event=greeting(name="Bob")),
        "run_nothing": await client.run_workflow("greet"),
    }
    again = await client.run_workflow_nowait("greet", seen["run_fields"].handler_id, {"name": "Ada"})
    seen["run_nowait"] = again
    seen["stream"] = [event async for event in client.get_workflow_events(again.handler_id)]
    seen["continued"] = await client.get_handler(again.handler_id)
    seen["stream_again"] = [event async for event in client.get_workflow_events(again.handler_id)]
    other = await client.run_workflow_nowait("greet", start_event=greeting(name="Eve"))
    internal = client.get_workflow_events(other.handler_id, include_internal_events=True, lock_timeout=3)
    seen["stream_internal"] = [event async for event in internal]

    asked = await client.run_workflow_nowait("approve")
    seen["sent"] = await client.send_event(asked.handler_id, events.HumanResponseEvent(response="yes"), step="decide")
    answers = [event async for event in client.get_workflow_events(asked.handler_id)]
    seen["answers"] = answers
    seen["answered"] = await client.get_result(asked.handler_id)

    waiting = await client.run_workflow_nowait("approve")
    seen["running"] = await client.get_handlers(status=["running"], workflow_name=["approve"])
    seen["cancelled"] = await client.cancel_handler(waiting.handler_id)
    seen["purged"] = await client.cancel_handler(waiting.handler_id, purge=True)
    seen["all"] = await client.get_handlers()
    seen["gone"] = await refused(client.get_handler(waiting.handler_id))
    seen["failed"] = await refused(client.run_workflow("greet", start_event={"name": "trouble"}))
    seen["unknown"] = await refused(client.run_workflow("nothing"))
    try:
        seen["no_stream"] = [event async for event in client.get_workflow_events("nobody")]
    except ValueError as error:
        seen["no_stream"] = str(error)
    return seen


async def refused(call: Any) -> int:
    """The status with which a call was refused."""
    try:
        await call
    except httpx.HTTPStatusError as error:
        return error.response.status_code
    return 0


def plain(value: Any) -> Any:
    """A client's model as JSON."""
    return value.model_dump(mode="json")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(try_everything(sys.argv[1])), default=plain))
