"""Make a database as the build that is checked out writes it: ``python -m tests.upgrades.making FOLDER``.

Each build that changes what is stored leaves one behind in ``fixtures/``, for ``test_upgrade.py`` to take up.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.harness.api import Api, Json
from tests.harness.server_process import DurableServer
from tests.upgrades.workflows import MAKING

TARGET = str(Path(__file__).parent / "served.py")


class Maker:
    """Starts runs on a server and notes their handlers by name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.handlers: dict[str, str] = {}

    async def start(self, name: str, workflow: str, key: str | None = None, **body: object) -> str:
        """Start a run; it is known as ``name``."""
        headers = {} if key is None else {"Idempotency-Key": key}
        status, handler = await self.api.call("POST", f"/workflows/{workflow}/run-nowait", body, headers=headers)
        assert status == 200, handler
        self.handlers[name] = handler["handler_id"]
        return self.handlers[name]

    async def until(self, name: str, kind: str, times: int = 1) -> None:
        """Return when so many events of this type are in the run's log."""
        async for event in self.api.stream(self.handlers[name]):
            times -= event.type == kind
            if not times:
                return
        raise AssertionError(f"{name} ended without {kind}")

    async def rows(self, database: Path, query: str, *parameters: object) -> None:
        """Return when this query finds something."""
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            for _ in range(1_500):
                if connection.execute(query, parameters).fetchone()[0]:
                    return
                await asyncio.sleep(0.02)
        raise AssertionError(query)


async def make_released(server: DurableServer, maker: Maker) -> None:
    """Runs that leave memory while they wait, and those that have ended."""
    await maker.start("released", "waits", start_event={"number": 1})
    await maker.start("released_returned", "returns", start_event={"number": 2})
    await maker.start("released_long_plain", "long_plain", start_event={"number": 270})
    await maker.start("released_carries", "carries")
    await maker.start("released_own_types", "own_types", start_event=own_start())
    await maker.rows(server.db, "SELECT count(*) = 5 FROM handlers WHERE released = 1")
    for workflow in ("continues_typed", "continues_plain"):
        handler_id = await maker.start(workflow, workflow)
        await maker.api.finished(handler_id)
        await maker.start(workflow, workflow, handler_id=handler_id)
        await maker.api.finished(handler_id)
    await maker.api.finished(await maker.start("fails", "fails"))
    await maker.api.finished(await maker.start("times_out", "times_out", start_event={"number": 1}))
    cancelled = await maker.start("cancelled", "waits", start_event={"number": 1})
    status, answer = await maker.api.call("POST", f"/handlers/{cancelled}/cancel")
    assert status == 200, answer


async def make_waiting(server: DurableServer, maker: Maker) -> None:
    """Runs that the kill finds in memory, in a step, or in a queue."""
    await maker.start("waiting", "waits", key="key-of-a-start", start_event={"number": 3})
    await maker.start("returned", "returns", start_event={"number": 4})
    await maker.start("long_typed", "long_typed", start_event={"number": 170})
    for name in ("carries", "carries_undeclared", "rescues"):
        await maker.start(name, name)
    await maker.start("own_types", "own_types", start_event=own_start())
    await maker.start("gathers", "gathers")
    await maker.start("joins", "joins")
    for name in ("waiting", "returned", "carries", "carries_undeclared", "own_types", "rescues"):
        await maker.until(name, "Question")
    await maker.until("long_typed", "Question", 2)
    await maker.until("gathers", "Ready", 2)
    await maker.until("joins", "Ready", 2)
    await make_queue(server, maker)
    await maker.start("retries", "retries")
    await maker.start("expires", "waits", start_event={"number": 5, "seconds": 10})
    await maker.until("retries", "Ready")
    await maker.until("expires", "Question")


async def make_queue(server: DurableServer, maker: Maker) -> None:
    """One run that takes its first event for ever, one with events in its inbox, and one with none."""
    for name in ("inbox", "queued_with_inbox", "queued"):
        await maker.start(name, "inbox")
    await maker.until("inbox", "Question")
    for number in (1, 2, 3):
        await maker.api.send(maker.handlers["inbox"], "Approval", number=number)
    for number in (10, 20, 30):
        await maker.api.send(maker.handlers["queued_with_inbox"], "Approval", number=number)
    posted = {"event": {"type": "Approval", "value": {"number": 40}}}
    path, headers = f"/events/{maker.handlers['queued']}", {"Idempotency-Key": "key-of-an-event"}
    status, answer = await maker.api.call("POST", path, posted, headers=headers)
    assert status == 200, answer
    await maker.rows(server.db, "SELECT count(*) = 4 FROM inbox")


def own_start() -> Json:
    """The fields of a start event, as a client sends them."""
    placed = {"title": "own", "placed": "2026-01-01T00:00:00Z", "labels": [2, 1], "price": "0.30"}
    return {"order": placed, "amount": "12.50", "day": "2026-02-28"}


async def make(folder: Path) -> None:
    """Write ``runs.sqlite3``, all of it in one file, and ``handlers.json``, which names its handlers."""
    with tempfile.TemporaryDirectory() as scratch:
        server = DurableServer(Path(scratch), TARGET, "--idle-timeout", "0.3")
        server.environment[MAKING] = "1"
        async with server:
            maker = Maker(server.api)
            await make_released(server, maker)
            await server.kill()
            server.options = ("--idle-timeout", "0")
            await server.start()
            await make_waiting(server, maker)
            # What was started last has been recorded, and the kill is in time for the shortest of its delays.
            await server.kill()
        with closing(sqlite3.connect(server.db)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (folder / "runs.sqlite3").write_bytes(server.db.read_bytes())
    (folder / "handlers.json").write_text(json.dumps(maker.handlers, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
