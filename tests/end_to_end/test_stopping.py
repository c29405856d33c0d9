"""SIGTERM ends the process within the grace period and cancels nothing; a second one ends it at once."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import aiohttp
import pytest

from tests.harness.api import Json, Reader
from tests.harness.ledger import after_kill
from tests.harness.server_process import DurableServer


async def outcome_of_waiting_run(server: DurableServer) -> tuple[int, Json] | aiohttp.ClientError:
    """Return the answer to a client that waits for a run's result while the server stops."""
    try:
        return await server.api.call("POST", "/workflows/gated/run", {})
    except aiohttp.ClientError as error:
        return error


async def test_a_stop_cancels_nothing_and_all_goes_on_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with DurableServer(tmp_path, "flows.py", "--grace-period", "1") as server:
        begun = [await server.api.start("gated") for _ in range(3)]
        asked = await server.api.start("asks")
        waiting = asyncio.create_task(outcome_of_waiting_run(server), name="waiting POST /run")
        reader = Reader(server.api, begun[0]["handler_id"])
        await reader.until("First")
        await server.ledger.reached("gated", 4)

        asked_to_end_at = time.monotonic()
        code = await server.stop()
        print(f"ended {time.monotonic() - asked_to_end_at:.2f} s after SIGTERM, with 1 s of grace")

        assert code == 0
        seen = await waiting
        assert isinstance(seen, tuple)
        assert seen[0] == 503
        assert "shutting down" in seen[1]["detail"]

        server.ledger.open("gated")
        await server.start()
        assert server.resumed == 5
        await server.api.send(asked["handler_id"], "Answer", number=5)
        assert await server.api.result(asked["handler_id"]) == 5
        for handler in begun:
            ended = await server.api.finished(handler["handler_id"])
            assert ended["status"] == "completed"
            assert (ended["run_id"], ended["started_at"]) == (handler["run_id"], handler["started_at"])
        status, answer = await server.api.call("GET", "/handlers?status=cancelled&status=failed")
        assert (status, answer) == (200, {"handlers": []})
        events = await reader.finished()
        assert [event.sequence for event in events] == list(range(len(events)))


async def test_a_step_that_finishes_in_grace_is_recorded_its_next_waits(
    tmp_path: Path,
) -> None:
    async with DurableServer(tmp_path, "flows.py", "--grace-period", "600") as server:
        handler = await server.api.start("gated")
        await server.ledger.reached("gated")
        await server.stopping()
        server.ledger.open("gated")
        assert await server.ended() == 0
        assert server.ledger.count("end", "wait") == 1
        assert server.ledger.count("begin", "after") == 0
        server.ledger.note_kill()

        await server.start()
        assert await server.api.result(handler["handler_id"]) == "through"
        assert [(entry.kind, entry.step) for entry in after_kill(server.ledger.entries())] == [
            ("begin", "after"),
            ("end", "after"),
        ]


async def test_a_second_signal_ends_the_process_at_once_and_loses_nothing(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py", "--grace-period", "600") as server:
        handler = await server.api.start("gated")
        await server.ledger.reached("gated")
        await server.stopping()
        server.terminate()
        assert await server.ended() == 130

        server.ledger.open("gated")
        await server.start()
        assert await server.api.result(handler["handler_id"]) == "through"


async def test_a_stop_ends_every_kind_of_open_stream_without_a_false_end(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py", "--grace-period", "1") as server:
        handler_id = (await server.api.start("gated"))["handler_id"]
        await server.ledger.reached("gated")
        urls = [f"{server.api.url}/events/{handler_id}{query}" for query in ("", "?sse=false&after_sequence=-1")]
        async with aiohttp.ClientSession() as session:
            streams = [await session.get(url) for url in urls]
            await asyncio.gather(*(stream.content.readline() for stream in streams))
            code = asyncio.create_task(server.stop(), name="stop")
            ends = await asyncio.gather(*(stream.content.read() for stream in streams), return_exceptions=True)
            assert await code == 0
        assert [type(end) for end in ends] == [aiohttp.ClientPayloadError] * 2


BLOCKING = ("sleep", "spin", "lock")
STUBBORN = {
    "the command": ("swallow", "sleep", "to_thread", "thread"),
    "one's own program": ("swallow", *BLOCKING, "to_thread", "task", "thread", "pool"),
}


async def standing(folder: Path, kind: str, *, own_program: bool, grace: str = "0") -> DurableServer:
    """A server with so many seconds of grace in which a step stands."""
    server = DurableServer(folder, "stubborn.py")
    server.own_program = own_program
    server.environment["WORKFLOW_SERVER_GRACE_PERIOD"] = grace
    server.open()
    await server.start()
    handler = await server.api.start("stubborn", kind=kind)
    if kind not in BLOCKING:
        async with aclosing(server.api.stream(handler["handler_id"])) as events:
            assert (await anext(events)).type == "Event"
    return server


@pytest.mark.slow
@pytest.mark.parametrize("served_by", STUBBORN)
async def test_sigterm_ends_the_process_in_time_whatever_steps_do(
    tmp_path_factory: pytest.TempPathFactory, served_by: str
) -> None:
    async def code_and_seconds(kind: str) -> tuple[int, float]:
        folder = tmp_path_factory.mktemp(kind)
        server = await standing(folder, kind, own_program=served_by != "the command")
        try:
            if kind in BLOCKING:
                await server.blocked()
            began = time.monotonic()
            return await server.stop(), time.monotonic() - began
        finally:
            await server.close()

    kinds = STUBBORN[served_by]
    ends = dict(zip(kinds, await asyncio.gather(*map(code_and_seconds, kinds)), strict=True))
    for kind, (code, seconds) in ends.items():
        print(f"{kind}: exit code {code} after {seconds:.2f} s")
        # The store was closed wherever the loop still ran.
        assert code == (130 if kind in BLOCKING else 0)


@pytest.mark.parametrize("own_program", [False, True], ids=["the command", "one's own program"])
async def test_a_second_signal_ends_a_blocked_process_at_once(tmp_path: Path, own_program: bool) -> None:
    # With this grace the first signal alone would end it when nobody waits for it any more.
    server = await standing(tmp_path, "sleep", own_program=own_program, grace="60")
    try:
        await server.blocked()
        server.terminate()
        # Two that come at once are one.
        await asyncio.sleep(0.2)
        assert await server.stop() == 130
    finally:
        await server.close()


async def test_a_signal_to_a_steps_child_does_not_end_the_server(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "stubborn.py", "--grace-period", "1") as server:
        assert await server.api.result((await server.api.start("forks"))["handler_id"]) == 15
        assert (await server.api.call("GET", "/health"))[0] == 200
        assert await server.stop() == 0
