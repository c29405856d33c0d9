"""Readers of a stream that leave in the middle of it, and what the next one gets."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

from tests.harness.runs import asked, released
from tests.harness.waiting import until_seen
from tests.reliability.cancelling.instrumented_loop import LIMIT
from tests.reliability.cancelling.leaving_clients import Client, Listening
from tests.reliability.cancelling.operation import told
from workflow_server.protocol.handlers import RunRequest

COUNTED = 400
"""Events of the run that is read with a cursor."""

_EVENT = {
    True: re.compile(rb"id: (\d+)\ndata: [^\n]*\n\n"),
    False: re.compile(rb'\{[^\n]*"sequence":(\d+)\}\n'),
}
"""A whole event, as SSE and as NDJSON, with its sequence."""


class Reading:
    """One reader's connection, and the sequences of the events that it has got whole."""

    def __init__(self, client: Client, *, sse: bool) -> None:
        self.client = client
        self._event = _EVENT[sse]
        self._data = b""

    @property
    def seen(self) -> list[int]:
        return [int(found[1]) for found in self._event.finditer(self._data)]

    async def read(self, size: int) -> bool:
        """Read up to so many bytes; False at the end."""
        data = await asyncio.wait_for(self.client.reader.read(size), LIMIT)
        self._data += data
        return bool(data)

    async def read_until(self, condition: Callable[[], bool]) -> None:
        """Read until the condition holds, or to the end of the stream."""
        while not condition() and await self.read(65_536):
            """It comes in pieces."""


async def begin(listening: Listening, handler_id: str, query: str, *, sse: bool) -> Reading:
    """Ask for a stream. As HTTP/1.0, so that it comes as it is and ends with the connection."""
    client = await listening.client()
    path = f"/events/{handler_id}?include_internal=true&sse={str(sse).lower()}&{query}"
    await client.send(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    return Reading(client, sse=sse)


async def log_of(listening: Listening, handler_id: str) -> list[int]:
    """The sequences of all events that are durable."""
    return [event.sequence for event in await listening.store.read_events(handler_id, -1, 100_000)]


async def until_after(listening: Listening, handler_id: str, last: int) -> None:
    """Return when an event after this one is durable."""

    async def has_followed() -> bool:
        return (await log_of(listening, handler_id))[-1] > last

    await until_seen(has_followed, "the run published nothing")


async def read_with_a_cursor(listening: Listening, chance: random.Random, *, sse: bool) -> int:
    """Leave after random numbers of bytes and come back with the cursor, until the end; how often it left."""
    over = await listening.manager.run("count", RunRequest(start_event={"n": COUNTED}))
    seen: list[int] = []
    left = 0
    while True:
        reading = await begin(listening, over.handler_id, f"after_sequence={seen[-1] if seen else -1}", sse=sse)
        size = chance.randint(0, 20_000)
        came = True
        while size > 0 and came:
            part = min(size, chance.randint(1, 4_096))
            came = await reading.read(part)
            size -= part
        seen += reading.seen
        await reading.client.leave(politely=chance.random() < 0.5)
        if not came:
            break
        left += 1
    assert seen == await log_of(listening, over.handler_id)
    return left


async def read_the_queue(listening: Listening, chance: random.Random, *, sse: bool, turns: int) -> int:
    """Readers of the shared queue, and those in the line for it, leave while events come; how many left.

    Each has read what was there when it leaves; what comes from then on is the next one's.
    """
    manager = listening.manager
    handler_id = (await manager.start("listen", RunRequest())).handler_id
    await asked(manager, handler_id)
    query = f"acquire_timeout={LIMIT}"
    seen: list[int] = []
    for turn in range(turns):
        # Out of memory, the run publishes nothing that the reader could miss in the moment in which it leaves.
        await released(manager, handler_id)
        last = (await log_of(listening, handler_id))[-1]
        reading = await begin(listening, handler_id, query, sse=sse)
        await reading.read_until(lambda one=reading, last=last: last in one.seen)  # type: ignore[misc]
        in_line = await begin(listening, handler_id, query, sse=sse)
        seen += reading.seen
        leaving = chance.sample([reading, in_line], 2)
        for one in leaving:
            await one.client.leave(politely=chance.random() < 0.5)
            await asyncio.sleep(chance.choice((0.0, 0.002)))
        await manager.send(handler_id, told(str(turn)), None, None)
        await until_after(listening, handler_id, last)
    await manager.send(handler_id, told("last"), None, None)
    reading = await begin(listening, handler_id, query, sse=sse)
    await reading.read_until(lambda: False)
    await reading.client.leave(politely=True)
    assert [*seen, *reading.seen] == await log_of(listening, handler_id)
    return 2 * turns
