"""Bugs of other servers that no other module here covers; each test names what happened there."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp

from tests.end_to_end.targets.peers import LINES, TICKS, WAITS
from tests.harness.api import Reader
from tests.harness.ledger import after_kill, before_kill, begun
from tests.harness.server_process import DurableServer


async def test_an_event_posted_during_a_step_survives_a_kill(tmp_path: Path) -> None:
    """Both: POST /events answers before anything is stored; 2.11.1, killed 2 s later in mid-step, lost the event."""
    async with DurableServer(tmp_path, "features.py") as server:
        handler_id = (await server.api.start("one_step"))["handler_id"]
        await server.ledger.reached("one_step")
        await server.api.send(handler_id, "Nudge", step="nudged", text="posted in mid-step")
        await server.restart()
        assert await server.api.result(handler_id) == "posted in mid-step"


async def test_state_that_cannot_be_kept_fails_the_run_and_names_the_key(tmp_path: Path) -> None:
    """2.11.1: state that cannot be serialized kills the checkpoint task; the run goes on, stored no more."""
    async with DurableServer(tmp_path, "flows.py") as server:
        handler = await server.api.finished((await server.api.start("unstorable"))["handler_id"])
        assert handler["status"] == "failed"
        assert "'socket'" in handler["error"]


async def test_a_reader_that_leaves_the_queue_loses_nothing_to_the_next(tmp_path: Path) -> None:
    """2.11.1: a disconnect in mid-stream loses the event that was being written (0-9, then 11 on)."""
    async with DurableServer(tmp_path, "peers.py") as server:
        handler_id = (await server.api.start("relay"))["handler_id"]
        url, lines, number = f"{server.api.url}/events/{handler_id}?sse=false&acquire_timeout=20", [], 0
        for _ in range(6):
            async with aiohttp.ClientSession() as session, session.get(url) as stream:
                for _ in range(5):
                    await server.api.send(handler_id, "Answer", number=number, text="last" if number == 29 else "")
                    number += 1
                    line = b"\n"
                    while not line.strip() or json.loads(line)["type"] != "Line":
                        line = await stream.content.readline()
                    lines.append(json.loads(line)["value"]["line"])
        assert lines == list(range(30))


async def test_a_handler_is_not_continued_under_another_workflow(tmp_path: Path) -> None:
    """0.8.0: reusing a handler_id under another workflow hands it the first one's state and overwrites its row."""
    async with DurableServer(tmp_path, "flows.py") as server:
        handler_id = (await server.api.start("sums", number=5))["handler_id"]
        assert await server.api.result(handler_id) == 5
        before = await server.api.handler(handler_id)
        body = {"handler_id": handler_id, "start_event": {"number": 7}}

        status, _ = await server.api.call("POST", "/workflows/other_sums/run", body)
        assert status == 404
        assert await server.api.handler(handler_id) == before

        await server.restart()
        status, answer = await server.api.call("POST", "/workflows/sums/run", body)
        assert (status, answer["result"]["value"]["result"]) == (200, 12)
        assert answer["run_id"] != before["run_id"]


async def test_purge_leaves_no_row_of_the_handler_in_any_table(tmp_path: Path) -> None:
    """0.8.0: purge leaves ticks, events and state behind."""
    async with DurableServer(tmp_path, "flows.py") as server:
        begun = await server.api.start("inbox")
        ids = (begun["handler_id"], begun["run_id"])
        for number in range(3):
            await server.api.send(ids[0], "Answer", number=number)
        await server.ledger.until(lambda entries: len(entries) == 3, "taking three numbers")
        assert rows_with(server.db, ids)

        status, answer = await server.api.call("POST", f"/handlers/{ids[0]}/cancel?purge=true")
        assert (status, answer) == (200, {"status": "deleted"})
        assert rows_with(server.db, ids) == {}


def rows_with(db: Path, ids: tuple[str, str]) -> dict[str, int]:
    """The tables that have rows with one of these values, in whatever column."""
    found: dict[str, int] = {}
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            count = sum(not set(ids).isdisjoint(row) for row in rows)
            if count:
                found[table] = count
    return found


async def test_cancel_is_answered_while_a_step_does_not_yield(tmp_path: Path) -> None:
    """0.8.0: cancel blocks until the step yields (over 12 s)."""
    async with DurableServer(tmp_path, "flows.py") as server:
        handler_id = (await server.api.start("stubborn"))["handler_id"]
        await server.ledger.reached("resist")
        status, answer = await server.api.call("POST", f"/handlers/{handler_id}/cancel")
        assert (status, answer) == (200, {"status": "cancelled"})
        assert (await server.api.handler(handler_id))["status"] == "cancelled"
        assert [event.type for event in await server.api.events(handler_id)] == ["WorkflowCancelledEvent"]

        # The step went on: what it publishes and returns later changes nothing.
        await server.ledger.until(lambda entries: entries[-1].kind == "resisted", "resisting")
        await server.restart()
        assert server.resumed == 0
        assert [event.type for event in await server.api.events(handler_id)] == ["WorkflowCancelledEvent"]


async def test_a_retry_delayed_across_a_snapshot_and_a_kill_is_made(tmp_path: Path) -> None:
    """Both, once fixed: delayed retries lost in snapshots; retry state lost at resume."""
    async with DurableServer(tmp_path, "peers.py") as server:
        handler = await server.api.start("retry_beside_work")
        await server.ledger.reached("counted")
        await server.kill()
        with closing(sqlite3.connect(f"file:{server.db}?mode=ro", uri=True)) as connection:
            (snapshots,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
        assert snapshots == 1
        assert ("begin", "1") not in [(entry.kind, entry.item) for entry in before_kill(server.ledger.entries())]

        await server.start()
        assert await server.api.result(handler["handler_id"]) == [1, TICKS]
        assert begun(after_kill(server.ledger.entries())) == {(handler["handler_id"], "flaky", "1"): 1}


async def test_events_published_side_by_side_keep_the_order_of_each_step(tmp_path: Path) -> None:
    """Both, once fixed: concurrent stream writes reordered."""
    async with DurableServer(tmp_path, "peers.py") as server:
        events = await server.api.events((await server.api.start("writers"))["handler_id"])
        for writer in range(3):
            lines = [e.value["line"] for e in events if e.type == "Line" and e.value["writer"] == writer]
            assert lines == list(range(LINES))


async def test_waits_of_a_fan_out_are_kept_apart_through_a_kill(tmp_path: Path) -> None:
    """Both, once fixed: waiters merged across fan-out."""
    async with DurableServer(tmp_path, "peers.py") as server:
        handler_id = (await server.api.start("many_waits"))["handler_id"]
        reader = Reader(server.api, handler_id)
        await reader.until("Question", WAITS)
        await server.api.send(handler_id, "Answer", number=2, text="to 2")
        await server.restart()
        for number in (3, 0, 1):
            await server.api.send(handler_id, "Answer", number=number, text=f"to {number}")
        assert await server.api.result(handler_id) == [f"to {number}" for number in range(WAITS)]
        events = await reader.finished()
        assert sorted(e.value["number"] for e in events if e.type == "Question") == list(range(WAITS))


async def test_a_stop_event_ends_the_run_though_a_sibling_step_still_runs(tmp_path: Path) -> None:
    """Both, once fixed: StopEvent not ending sibling steps at once."""
    async with DurableServer(tmp_path, "peers.py") as server:
        handler_id = (await server.api.start("racing"))["handler_id"]
        await server.ledger.reached("losing")
        await server.ledger.reached("winning")
        server.ledger.open("winning")
        assert await server.api.result(handler_id) == "won"
        await server.ledger.until(lambda entries: entries[-1].kind == "cancelled", "ending the sibling")
        assert [event.type for event in await server.api.events(handler_id)] == ["StopEvent"]


async def test_a_foreign_lock_on_the_database_stops_no_reads(
    tmp_path: Path,
) -> None:
    """0.8.0: a synchronous commit on the event loop; an 8 s lock held by another process stops /health for 7 s."""
    async with DurableServer(tmp_path, "flows.py") as server:
        done = (await server.api.start("three_steps", number=1))["handler_id"]
        assert await server.api.result(done) == [1, "one", "two", "three"]
        with closing(sqlite3.connect(server.db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held_up = asyncio.create_task(server.api.start("three_steps", number=2), name="held up")
            for _ in range(5):
                status, _ = await server.api.call("GET", "/health")
                assert status in (200, 503)
                assert (await server.api.handler(done))["status"] == "completed"
                assert len(await server.api.events(done)) == 3
            assert not held_up.done(), "a run was acknowledged that cannot have been stored"
            other.execute("COMMIT")
        handler = await held_up
        assert await server.api.result(handler["handler_id"]) == [2, "one", "two", "three"]
