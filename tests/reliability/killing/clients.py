"""The clients: each asks for something that a crash could lose, repeat or change."""

from __future__ import annotations

import asyncio
import json
import random
import time

from tests.harness.api import TERMINAL
from tests.reliability.killing.cursor_readers import OVER
from tests.reliability.killing.load import Client, Load, QueueReading, TimedWait
from tests.reliability.targets.workload import COUNTED, ENDS_INBOX, ITEMS

IMPORTED = 1_000
"""The count in the state of an imported handler."""
CONTINUED = 3
"""Number of runs of a handler of ``sums``."""


async def write(load: Load, number: int, chance: random.Random) -> None:
    """Three steps, one after the other."""
    await load.end(await load.start("chain", number, chance, [number, "one", "two", "three"]))


async def write_slowly(load: Load, number: int, chance: random.Random) -> None:
    """Steps that are longer than most lives of the server."""
    pause = chance.uniform(0.2, 0.6)
    await load.end(await load.start("chain", number, chance, [number, "one", "two", "three"], pause=pause))


async def wait_for_end(load: Load, number: int, chance: random.Random) -> None:
    """Start a run and wait for its end in the same request."""
    content = {"start_event": {"number": number, "pause": chance.uniform(0, 0.03)}}
    handler = await load.requests.acknowledge("/workflows/chain/run", content, f"run-{number}")
    run = load.adopt(handler, "chain", [number, "one", "two", "three"], chance)
    run.reader.follow(run.run_id)
    await load.end(run)


async def tally(load: Load, number: int, chance: random.Random) -> None:
    """Steps side by side, counting in one state."""
    names = [f"item-{item}" for item in range(ITEMS)]
    expected = [ITEMS, names, {"even": (ITEMS + 1) // 2, "odd": ITEMS // 2}]
    await load.end(await load.start("tally", number, chance, expected))


async def count(load: Load, number: int, chance: random.Random) -> None:
    """A long run."""
    await load.end(await load.start("counting", number, chance, COUNTED))


async def retry(load: Load, number: int, chance: random.Random) -> None:
    """A step that fails twice."""
    await load.end(await load.start("flaky", number, chance, 2))


async def wait_in_vain(load: Load, number: int, chance: random.Random) -> None:
    """A workflow that runs into its own timeout."""
    await load.end(await load.start("patient", number, chance, "WorkflowTimedOutEvent"))


async def answer_question(load: Load, number: int, chance: random.Random) -> None:
    """A person's answer to a question."""
    run = await load.start("asks", number, chance, number)
    await run.reader.until("Question")
    await load.answer(run, number, f"answer-{number}")
    await load.end(run)


async def answer_early(load: Load, number: int, chance: random.Random) -> None:
    """A person's answer that is sent before the question is asked."""
    run = await load.start("asks_later", number, chance, number)
    content = {"event": {"type": "HumanResponseEvent", "value": {"number": number}}}
    await load.requests.acknowledge(f"/events/{run.handler_id}", content, f"early-{number}", run.handler_id)
    await load.end(run)


async def fill_inbox(load: Load, number: int, chance: random.Random) -> None:
    """Several events for one run, all of them in order."""
    numbers = [number + place for place in range(chance.randrange(2, 7))]
    run = await load.start("inbox", number, chance, numbers)
    await run.reader.until("Question")
    for place in [*numbers, ENDS_INBOX]:
        await load.answer(run, place, f"inbox-{number}-{place}")
    await load.end(run)


async def answer_in_time(load: Load, number: int, chance: random.Random) -> None:
    """A wait with a deadline, answered before it, about then, or not at all."""
    # Some pass while the server is dead; others begin before a kill and are over only some time after the next start.
    seconds = chance.choice((chance.uniform(0.2, 2.0), chance.uniform(2.0, 5.0)))
    run = await load.start("waits", number, chance, seconds=seconds)
    wait = TimedWait(run, seconds)
    load.waits.append(wait)
    await run.reader.until("Question")
    if chance.random() < 0.6:
        await asyncio.sleep(chance.uniform(0, seconds * 1.1))
        content = {"event": {"type": "Answer", "value": {"number": number}}}
        answer = await load.requests.insist(f"/events/{run.handler_id}", content, f"in-time-{number}")
        assert answer.status in (200, 409), answer
        if answer.status == 200:
            wait.answered_at = time.time()
    await load.end(run)


async def cancel(load: Load, number: int, chance: random.Random) -> None:
    """Cancel a run that waits, or one in the middle of its steps."""
    run = await load.start(chance.choice(("asks", "chain", "tally")), number, chance, "WorkflowCancelledEvent")
    await asyncio.sleep(chance.uniform(0, 0.05))
    answer = await load.requests.insist(f"/handlers/{run.handler_id}/cancel")
    if answer.status == 200:
        load.note(OVER, run)
        load.cancelled.append(run)
    else:
        # It had ended before; or it was cancelled, and the acknowledgement was lost.
        assert answer.status == 404, answer
        assert "is not running" in answer.json["detail"], answer
        run.expected = None
    await load.end(run)


async def purge(load: Load, number: int, chance: random.Random) -> None:
    """Delete a handler, whether its run has ended or not."""
    run = await load.start(chance.choice(("asks", "chain", "counting")), number, chance)
    load.gone.add(run.handler_id)
    if run.workflow == "chain":
        await load.end(run)
    else:
        await asyncio.sleep(chance.uniform(0, 0.3))
    answer = await load.requests.insist(f"/handlers/{run.handler_id}/cancel?purge=true")
    assert answer.status == 200 or (answer.status == 404 and answer.resent), answer
    load.note(OVER, run)
    load.deleted.append(run.handler_id)
    load.runs.remove(run)
    await run.reader.stop()


async def go_on(load: Load, number: int, chance: random.Random) -> None:
    """Continue a handler, run after run."""
    total = number
    run = await load.start("sums", number, chance, total)
    await load.end(run)
    for _ in range(CONTINUED - 1):
        addend = chance.randrange(1, 100)
        total += addend
        run = await load.go_on(run, number, addend, total)
        await load.end(run)


async def bring_along(load: Load, number: int, chance: random.Random) -> None:
    """A handler that a user's own code puts into the store, continued over HTTP."""
    await load.end(await load.start("imports", number, chance, f"imported-{number}"))
    status, handler = await load.requests.look(f"/handlers/imported-{number}")
    assert (status, handler["result"]["value"]["result"]) == (200, IMPORTED), handler
    load.imported.append(handler["handler_id"])
    imported = load.adopt(handler, "sums", IMPORTED, chance)
    imported.ended = handler
    await load.end(await load.go_on(imported, number, number, IMPORTED + number))


async def read_queue(load: Load, number: int, chance: random.Random) -> None:
    """Read the shared queue of a run: whoever reads takes all that is written out, as long as the server lives."""
    run = await load.start("chain", number, chance, [number, "one", "two", "three"])
    reading = QueueReading(run, [])
    load.queues.append(reading)
    while not reading.over:
        await load.up.wait()
        try:
            await _drain(load.api.url, reading)
        except ConnectionError:
            load.requests.lost += 1
        await asyncio.sleep(0.02)
    await load.end(run)


async def _drain(url: str, reading: QueueReading) -> None:
    # Not by an HTTP client: those forget what they have received when the connection breaks, and in a queue nobody
    # comes back to that.
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        path = f"/events/{reading.run.handler_id}?sse=false&acquire_timeout=1"
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
        status = int((await reader.readline() or b"- 503").split()[1])
        assert status in (200, 204, 409, 503), status
        reading.over = status == 204
        async for line in reader:
            if status == 200 and line.lstrip().startswith(b"{") and line.endswith(b"\n"):
                event = json.loads(line)
                reading.sequences.append(event["sequence"])
                reading.over = event["type"] in TERMINAL
    finally:
        writer.close()


async def repeat(load: Load, _: int, chance: random.Random) -> None:
    """Send again what was acknowledged."""
    await load.repeater.repeat(chance, load.gone)
    await asyncio.sleep(0.05)


CLIENTS: dict[Client, int] = {
    write: 5,
    write_slowly: 2,
    wait_for_end: 1,
    tally: 2,
    count: 2,
    retry: 1,
    wait_in_vain: 1,
    answer_question: 2,
    answer_early: 1,
    fill_inbox: 1,
    answer_in_time: 5,
    cancel: 1,
    purge: 1,
    go_on: 1,
    bring_along: 1,
    read_queue: 1,
    repeat: 1,
}
"""Number of clients of each kind."""
