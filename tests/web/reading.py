"""Reading streams, as the tests do it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import ClientResponse

from tests.web.conftest import Served

START = "after_sequence=-1&include_internal=true"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n") if line]


async def read(served: Served, handler_id: str, query: str = START, **headers: str) -> tuple[int, str]:
    async with served.client.get(f"/events/{handler_id}?{query}", headers=headers) as response:
        return response.status, await response.text()


async def next_event(response: ClientResponse) -> dict[str, Any]:
    """The next event of an NDJSON stream."""
    while True:
        line = await asyncio.wait_for(response.content.readline(), 30)
        assert line, "the stream ended"
        if line.strip():
            event: dict[str, Any] = json.loads(line)
            return event
