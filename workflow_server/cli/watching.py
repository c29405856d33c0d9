"""Following a run: its events as they come, through restarts of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import aiohttp

from workflow_server.cli.remote import PAUSES, Refused, Remote, reason_of
from workflow_server.printable import printable

Json = dict[str, Any]
LONGEST_VALUE = 300
"""Characters of an event's value on its line."""
START_OF_RUN = -1


async def events(remote: Remote, handler_id: str, lost: Callable[[str], None]) -> AsyncIterator[str]:
    """Yield each event of the handler's run once, in order, as its line of NDJSON, and return when the run has ended.

    ``lost`` is told, once for each time, why the connection is gone; it is made again as long as it takes.

    Raises:
        Refused: the server knows no such handler, or does not want this.
    """
    after, tries = START_OF_RUN, 0
    while True:
        try:
            query = (("sse", "false"), ("include_internal", "true"), ("after_sequence", str(after)))
            async with remote.stream("events", handler_id, query=query) as response:
                if response.status == 204:
                    return
                async for line in _lines(response):
                    after, tries = json.loads(line)["sequence"], 0
                    yield line
            # It has ended, or was cut off in a way that looks like an end: the next answer says which.
            continue
        except Refused as error:
            if error.status != 503:
                raise
            reason = str(error)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = reason_of(error)
        if not tries:
            lost(reason)
        await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
        tries += 1


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Yield the whole lines of a body, however long they are, without the spaces of heartbeats."""
    left = b""
    async for piece in response.content.iter_any():
        *whole, left = (left + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield line.strip().decode()


def told(line: str) -> str:
    """Return an event as people read it: when, what, and its value in short."""
    event: Json = json.loads(line)
    value = event["value"]
    if event["type"] == "StepStateChanged":
        state = str(value.get("step_state", "")).rpartition(".")[2].lower().replace("_", " ")
        return printable(f"{_time(event)}  {value.get('name')}: {state}")
    text = json.dumps(value, ensure_ascii=False)
    return f"{_time(event)}  {printable(event['type'])} {printable(text, LONGEST_VALUE)}"


def _time(event: Json) -> str:
    """Return the time of the event on this machine's clock; blanks where it is not known."""
    time = event.get("time")
    if time is None:
        return " " * 12
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S.%f")[:-3]
