"""Reads a Server-Sent Events stream with a library: ``read_sse.py LIBRARY URL``. Each event becomes a line at once."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

TERMINAL = "StopEvent"


def took(identity: str, data: str) -> bool:
    """Print an event; whether it was the last."""
    event = json.loads(data)
    print(json.dumps({**event, "sequence": int(identity)}), flush=True)
    return event["type"] == TERMINAL  # type: ignore[no-any-return]


def httpx_sse(url: str) -> None:
    connect: Any = importlib.import_module("httpx_sse").connect_sse
    with importlib.import_module("httpx").Client(timeout=None) as client, connect(client, "GET", url) as source:
        for event in source.iter_sse():
            took(event.id, event.data)


def sseclient_py(url: str) -> None:
    response = importlib.import_module("requests").get(url, stream=True)
    for event in importlib.import_module("sseclient").SSEClient(response).events():
        took(event.id, event.data)


def requests_sse(url: str) -> None:
    with importlib.import_module("requests_sse").EventSource(url) as source:
        for event in source:
            if took(event.last_event_id, event.data):
                return


def aiohttp_sse_client2(url: str) -> None:
    async def read() -> None:
        async with importlib.import_module("aiohttp_sse_client2.client").EventSource(url) as source:
            async for event in source:
                if took(event.last_event_id, event.data):
                    return

    asyncio.run(read())


def llama_index_workflows(url: str) -> None:
    client_events(importlib.import_module("workflows.client").WorkflowClient, url)


def llama_agents_client(url: str) -> None:
    client_events(importlib.import_module("llama_agents.client").WorkflowClient, url)


def client_events(kind: Any, url: str) -> None:
    async def read() -> None:
        base, _, handler_id = url.partition("?")[0].rpartition("/events/")
        async for event in kind(base_url=base).get_workflow_events(handler_id):
            print(json.dumps({"type": event.type, "value": event.value}), flush=True)

    asyncio.run(read())


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
