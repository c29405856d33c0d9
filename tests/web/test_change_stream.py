"""GET /handlers/stream: all that changes is told soon, in few lines, to readers that come and go."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from tests.harness.waiting import until
from tests.web.conftest import Serve, Served
from tests.web.test_now import Approves, Works
from workflow_server.errors import ShuttingDown
from workflow_server.records import ListFilter, RunStarted
from workflow_server.runs import change_feed, changes
from workflow_server.store.base import HandlerQuery

Json = dict[str, Any]
ANSWER = {"event": {"type": "Answered", "value": {"text": "yes"}}}


class Follower:
    """A reader of the stream, as NDJSON."""

    def __init__(self, response: ClientResponse) -> None:
        self.lines: list[Json] = []
        self.response = response

    async def line(self) -> Json:
        """The next line that is not a heartbeat after the first one."""
        while True:
            text = await asyncio.wait_for(self.response.content.readline(), 30)
            assert text.endswith(b"\n"), "the stream ended"
            self.lines.append(json.loads(text))
            if len(self.lines) == 1 or len(self.lines[-1]) > 1:
                return self.lines[-1]

    async def until(self, is_it: Callable[[Json], bool]) -> Json:
        """The first of the next lines of which this is true."""
        while not is_it(found := await self.line()):
            pass
        return found

    async def handler(self, handler_id: str, **wanted: Any) -> Json:
        """The handler, when a line tells it with these values."""

        def is_it(line: Json) -> bool:
            one = line.get("handler")
            return one is not None and one["handler_id"] == handler_id and wanted.items() <= one.items()

        found: Json = (await self.until(is_it))["handler"]
        return found

    async def in_state(self, handler_id: str, state: str | None) -> Json:
        """The handler, when a line tells it in this state."""

        def is_it(line: Json) -> bool:
            one = line.get("handler")
            return one is not None and one["handler_id"] == handler_id and one["now"]["state"] == state

        found: Json = (await self.until(is_it))["handler"]
        return found

    def told(self, handler_id: str) -> list[Json]:
        """All that was told of a handler."""
        return [line["handler"] for line in self.lines if line.get("handler", {}).get("handler_id") == handler_id]

    @property
    def cursor(self) -> str:
        """The cursor of the last line."""
        return str(self.lines[-1]["cursor"])


@asynccontextmanager
async def following(served: Served, query: str = "", cursor: str | None = None) -> AsyncIterator[Follower]:
    """Follow from now on, or from a cursor."""
    behind = "" if cursor is None else f"&cursor={cursor}"
    async with served.client.get(f"/handlers/stream?sse=false{query}{behind}") as response:
        assert response.status == 200, await response.text()
        follower = Follower(response)
        if cursor is None:
            assert list(await follower.line()) == ["cursor"]
        yield follower


def feed_of(served: Served) -> change_feed.ChangeFeed:
    return served.server._manager._changes


async def listed(served: Served, handler_id: str) -> Json:
    """The handler as the list has it."""
    _, answer = await served.get("/handlers?limit=500&include=now")
    (found,) = [one for one in answer["handlers"] if one["handler_id"] == handler_id]
    return dict(found)


# -- Changes ---------------------------------------------------------------------------------------


async def test_a_run_is_told_from_its_start_to_its_end(serve: Serve) -> None:
    served = await serve(workflows={"approves": Approves(timeout=None)})
    async with following(served) as follower:
        handler_id = await served.start("approves")
        waiting = await follower.in_state(handler_id, "waiting")
        assert waiting["now"]["waiting_for"][0]["prompt"] == "May it go out?"
        assert waiting == await listed(served, handler_id)
        answer = {"event": {"type": "HumanResponseEvent", "value": {"response": "yes"}}}
        assert (await served.post(f"/events/{handler_id}", json=answer))[0] == 200
        over = await follower.handler(handler_id, status="completed")
        assert (over["now"]["summary"], over["now"]["state"], over["result"]) == ("yes", None, None)
        assert over == await listed(served, handler_id)


async def test_steps_that_begin_and_end_are_changes(serve: Serve) -> None:
    works = Works()
    served = await serve(workflows={"works": works})
    async with following(served) as follower:
        handler_id = await served.start("works", parts=3)

        def all_run(line: Json) -> bool:
            steps = line["handler"]["now"]["running_steps"] if "handler" in line else ()
            return [one["step"] for one in steps if one["since"]] == ["work"] * 3

        await follower.until(all_run)
        works.may_end.set()
        assert (await follower.handler(handler_id, status="completed"))["now"]["running_steps"] == []


class Part(Event):
    n: int


class Gates(Workflow):
    """Has two steps, each behind a gate; nothing but its steps tells how far it is."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.gates = [asyncio.Event(), asyncio.Event()]

    @step
    async def first(self, ev: StartEvent) -> Part:
        await self.gates[0].wait()
        return Part(n=0)

    @step
    async def second(self, ev: Part) -> StopEvent:
        await self.gates[1].wait()
        return StopEvent()


async def test_a_step_alone_is_a_change(serve: Serve) -> None:
    gates = Gates()
    served = await serve(workflows={"gates": gates})
    async with following(served) as follower:
        handler_id = await served.start("gates")
        for gate, name in zip(gates.gates, ("first", "second"), strict=True):

            def runs(line: Json, name: str = name) -> bool:
                steps = line["handler"]["now"]["running_steps"] if "handler" in line else ()
                return [one["step"] for one in steps if one["since"]] == [name]

            await follower.until(runs)
            assert feed_of(served)._unsettled == {}
            gate.set()
        await follower.handler(handler_id, status="completed")


async def test_a_slot_and_a_release_are_changes(serve: Serve) -> None:
    works = Works(num_concurrent_runs=1)
    served = await serve(workflows={"one": works, "approves": Approves(timeout=None)}, idle_timeout=0.1)
    async with following(served) as follower:
        first, second = await served.start("one"), await served.start("one")
        await follower.in_state(second, "queued")
        works.may_end.set()
        await follower.handler(first, status="completed")
        await follower.handler(second, status="completed")
        waits = await served.start("approves")
        await follower.in_state(waits, "waiting")


async def test_deletions_are_told(serve: Serve, tmp_path: Path) -> None:
    served = await serve(db=tmp_path / "db")
    ids = {name: await served.finish("echo") for name in ("alone", "bulk", "kept")}
    async with following(served) as follower:
        assert (await served.post(f"/handlers/{ids['alone']}/cancel?purge=true"))[0] == 200
        assert (await follower.line())["purged"] == ids["alone"]
        assert (await served.post(f"/bulk/cancel?purge=true&status=completed&q={ids['bulk']}"))[0] == 200
        assert (await follower.line())["purged"] == ids["bulk"]


async def test_handlers_that_retention_deletes_are_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_server.runs.retention.INTERVAL", 0.05)
    served = await serve(retain_runs=1)
    async with following(served) as follower:
        ids = [await served.finish("echo") for _ in range(2)]
        assert (await follower.until(lambda line: "purged" in line))["purged"] == ids[0]


# -- Filters ---------------------------------------------------------------------------------------


async def test_only_what_matches_is_told_and_what_leaves(served: Served) -> None:
    async with following(served, "&status=running&workflow_name=ask") as follower:
        await served.finish("echo")
        handler_id = await served.start("ask")
        await follower.in_state(handler_id, "waiting")
        assert (await served.post(f"/events/{handler_id}", json=ANSWER))[0] == 200
        assert (await follower.until(lambda line: "left" in line))["left"] == handler_id
        assert {line["handler"]["workflow_name"] for line in follower.lines if "handler" in line} == {"ask"}


@pytest.mark.parametrize("query", ["&tag=a", "&tag=a&tag=b", "&q=TAG-b", "&q={handler_id}"])
async def test_tags_and_texts_are_filters(served: Served, query: str) -> None:
    body = {"start_event": {}, "tags": ["a", "b", "tag-b"]}
    _, first = await served.post("/workflows/echo/run", json=body)
    other = await served.start("ask")
    async with following(served, query.replace("{handler_id}", first["handler_id"])) as follower:
        assert (await served.post(f"/events/{other}", json=ANSWER))[0] == 200
        again = {"start_event": {}, "handler_id": first["handler_id"]}
        assert (await served.post("/workflows/echo/run", json=again))[0] == 200
        await follower.handler(first["handler_id"], status="completed")
        assert {line["handler"]["handler_id"] for line in follower.lines if "handler" in line} == {first["handler_id"]}
        if "tag" in query.lower():
            assert (await served.post("/workflows/echo/run", json={**again, "tags": ["c"]}))[0] == 200
            assert await follower.until(lambda line: line.get("left") == first["handler_id"])


async def test_times_are_filters(served: Served) -> None:
    begun, past = await served.finish("echo", text="x"), "2020-01-01T00:00:00Z"
    async with (
        following(served) as witness,
        following(served, f"&ended_after={past}") as ended,
        following(served, f"&ended_before={past}") as before,
        following(served, f"&started_after={past}&started_before={past}") as never,
    ):
        waiting = await served.start("ask")
        await witness.in_state(waiting, "waiting")
        await served.post(f"/handlers/{waiting}/cancel")
        await ended.handler(waiting, status="cancelled")
        await served.post(f"/handlers/{begun}/cancel?purge=true")
        for follower in (ended, before, never):
            await follower.until(lambda line: line.get("purged") == begun)
        assert {one["status"] for one in ended.told(waiting)} == {"cancelled"}
        assert not before.told(waiting)
        assert not never.told(waiting)


async def test_steps_of_runs_that_never_matched_are_no_lines(serve: Serve) -> None:
    works = Works()
    served = await serve(workflows={"works": works})
    handler_id = await served.start("works", parts=3)
    async with following(served) as witness, following(served, "&status=failed") as follower:
        await until(lambda: bool(served.server._manager.runs.get(handler_id)), "the run did not begin")
        answered = await served.start("ask")
        await witness.in_state(answered, "waiting")
        works.may_end.set()
        await witness.handler(handler_id, status="completed")
        failed = (await served.post("/workflows/fail/run"))[1]["handler_id"]
        await follower.handler(failed, status="failed")
        left = [line["left"] for line in follower.lines if "left" in line]
        # Starts and ends may take a handler out of the list, and steps do not.
        assert left.count(handler_id) <= 2


@pytest.mark.parametrize(
    "query",
    [
        "cursor=1",
        "cursor=00000000.-1",
        "cursor=abc",
        "status=x",
        "limit=1",
        "sse=maybe",
        "cursor=a&cursor=b",
        "ended_after=x",
    ],
)
async def test_a_parameter_that_is_not_valid_is_400(served: Served, query: str) -> None:
    status, _ = await served.get(f"/handlers/stream?{query}")
    assert status == 400


# -- Cursors ---------------------------------------------------------------------------------------


async def test_a_reader_that_comes_back_gets_what_it_missed(served: Served) -> None:
    async with following(served) as follower:
        handler_id = await served.start("ask")
        await follower.in_state(handler_id, "waiting")
    finished = await served.finish("echo")
    assert (await served.post(f"/events/{handler_id}", json=ANSWER))[0] == 200
    async with following(served, cursor=follower.cursor) as again:
        await again.handler(finished, status="completed")
        if not again.told(handler_id):
            await again.handler(handler_id, status="completed")
        assert "reset" not in again.lines[0]
    async with following(served, cursor=again.cursor) as third:
        new = await served.start("ask")
        await third.in_state(new, "waiting")
        assert {one["handler_id"] for line in third.lines if (one := line.get("handler"))} <= {new, handler_id}


async def test_each_line_is_a_place_to_go_on_from(served: Served) -> None:
    async with following(served) as follower:
        begun = follower.cursor
        ids = [await served.finish("echo") for _ in range(5)]
        for handler_id in ids:
            if not follower.told(handler_id):
                await follower.handler(handler_id)
    async with following(served, cursor=begun) as again:
        for handler_id in ids:
            if not again.told(handler_id) or again.told(handler_id)[-1]["status"] != "completed":
                await again.handler(handler_id, status="completed")
    cut = len(again.lines) // 2
    async with following(served, cursor=again.lines[cut]["cursor"]) as third:
        while len(third.lines) < len(again.lines) - cut - 1:
            await third.line()
    assert third.lines == again.lines[cut + 1 :]


async def test_a_cursor_of_another_process_is_a_reset(serve: Serve, tmp_path: Path) -> None:
    first = await serve(db=tmp_path / "db")
    async with following(first) as follower:
        pass
    await first.runner.cleanup()
    second = await serve(db=tmp_path / "db")
    async with following(second, cursor=follower.cursor) as again:
        line = await again.line()
        assert "another process" in line["reset"]
        handler_id = await second.finish("echo")
        await again.handler(handler_id, status="completed")
    later = f"{line['cursor'].partition('.')[0]}.999999"
    async with following(second, cursor=later) as again:
        assert "reset" in await again.line()


async def test_a_cursor_of_long_ago_is_a_reset(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "LINGER", 0.01)
    async with following(served) as follower:
        pass
    await until(lambda: feed_of(served).log is None, "the changes are noted though nobody follows")
    async with following(served, cursor=follower.cursor) as again:
        assert "too old" in (await again.line())["reset"]


async def test_more_than_is_told_is_a_reset_and_then_goes_on(served: Served) -> None:
    store = served.server._manager.store
    async with following(served) as follower:
        begun = follower.cursor
        await store.append(*(started(f"many{n:05}") for n in range(5_000)))
        assert "more has changed" in (await follower.line())["reset"]
        handler_id = await served.finish("echo")
        await follower.handler(handler_id, status="completed")
        assert [list(line) for line in follower.lines[:2]] == [["cursor"], ["cursor", "reset"]]
        async with following(served, cursor=begun) as late:
            assert "too old" in (await late.line())["reset"]
    log = feed_of(served).log
    assert log is not None
    assert len(log.after(0)) < 10


async def test_many_changes_are_each_told_once(served: Served) -> None:
    store = served.server._manager.store
    async with following(served) as follower:
        await store.append(*(started(f"many{n:05}") for n in range(900)))
        for _ in range(900):
            await follower.line()
        ids = [line["handler"]["handler_id"] for line in follower.lines[1:]]
        assert ids == [f"many{n:05}" for n in range(900)]
        assert await store.delete(HandlerQuery(workflow_name_in=["gone"])) == 900


# -- Formats ---------------------------------------------------------------------------------------


async def test_in_sse_the_cursor_is_the_id(served: Served) -> None:
    async with served.client.get("/handlers/stream") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert await response.content.readline() == b"retry: 1000\n"
        event = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 30)
        first, data, *_ = event.decode().split("\n")
        cursor = first.removeprefix("id: ")
        assert json.loads(data.removeprefix("data: ")) == {"cursor": cursor}
    handler_id = await served.finish("echo")
    headers = {"Last-Event-ID": cursor}
    async with served.client.get("/handlers/stream?cursor=00000000.1", headers=headers) as response:
        await response.content.readline()
        event = await asyncio.wait_for(response.content.readuntil(b"\n\n"), 30)
        told = json.loads(event.decode().split("\n")[1].removeprefix("data: "))
        assert told["handler"]["handler_id"] == handler_id


@pytest.mark.parametrize("sse", [True, False])
async def test_an_idle_reader_has_heartbeats(serve: Serve, sse: bool) -> None:
    served = await serve(heartbeat=0.02)
    async with served.client.get(f"/handlers/stream?sse={str(sse).lower()}") as response:
        if sse:
            await asyncio.wait_for(response.content.readuntil(b"\n\n"), 30)
            assert [await response.content.readline() for _ in range(3)] == [b": heartbeat\n"] * 3
        else:
            lines = [json.loads(await response.content.readline()) for _ in range(3)]
            assert lines == [lines[0]] * 3
            assert list(lines[0]) == ["cursor"]


async def test_a_look_at_the_head_opens_no_stream(served: Served) -> None:
    async with served.client.head("/handlers/stream?sse=false") as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
    assert feed_of(served).log is None


async def test_line_ends_in_a_text_end_no_line(served: Served) -> None:
    async with following(served) as follower:
        _, handler = await served.post("/workflows/echo/run", json={"start_event": {"text": "a\u2028b\x85c\nd"}})
        found = await follower.handler(handler["handler_id"], status="completed")
        assert "a" in found["now"]["summary"]
        assert json.dumps(found, ensure_ascii=False).count("\u2028") == found["now"]["summary"].count("\u2028")


# -- Bounds ----------------------------------------------------------------------------------------


async def test_a_reader_holds_one_of_the_places_of_streams(serve: Serve) -> None:
    served = await serve(max_streams=1)
    async with following(served):
        for path in ("/handlers/stream", "/handlers"):
            status, answer = await served.get(path)
            assert (status, "streams" in answer["detail"]) == (429, True)
    async with asyncio.timeout(30):
        while (await served.client.get("/handlers")).status == 429:
            pass


async def test_a_stop_breaks_the_stream_off(served: Served) -> None:
    async with following(served) as follower:
        await served.runner.cleanup()
        with pytest.raises(ClientPayloadError):
            await follower.response.read()


async def test_a_stop_beneath_the_application_breaks_it_off(served: Served) -> None:
    async with following(served) as follower:
        await served.server.stop()
        with pytest.raises(ClientPayloadError):
            await follower.response.read()


async def test_a_reader_that_waits_is_told_of_a_stop(served: Served) -> None:
    manager = served.server._manager
    with manager.follow(ListFilter(), None) as reader:
        assert await reader.next_page(30)
        waiting = asyncio.create_task(reader.next_page(3_600))
        # It waits when everything else has had its turn.
        await asyncio.sleep(0)
        manager.close()
        with pytest.raises(ShuttingDown):
            await asyncio.wait_for(waiting, 30)
    with pytest.raises(ShuttingDown), manager.follow(ListFilter(), None):
        pass


async def test_nothing_is_noted_while_nobody_follows(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "LINGER", 0.05)
    manager = served.server._manager
    listeners = manager.store._listeners._listeners  # type: ignore[attr-defined]
    before = len(listeners)
    for _ in range(2):
        async with following(served) as follower:
            assert len(listeners) == before + 1
            await follower.handler(await served.finish("echo"), status="completed")
        await until(lambda: len(listeners) == before, "changes are noted though nobody follows")
        assert feed_of(served).log is None
        assert (manager.runs.on_change, manager._logs.on_forget) == (None, None)
        assert not any("follow changes" in task.get_name() for task in asyncio.all_tasks())
        assert manager.footprint()["readers of changes"] == 0


async def test_a_reader_that_does_not_read_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "INTERVAL", 0.02)
    monkeypatch.setattr(change_feed, "GATHER", 0.0)
    served = await serve(write_timeout=0.3, send_buffer=4_096, max_streams=2)
    store = served.server._manager.store
    with closing(socket.socket()) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stalled.connect(("127.0.0.1", served.port))
        stalled.sendall(b"GET /handlers/stream?sse=false HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.to_thread(stalled.recv, 1) == b"H"
        assert served.server._manager.footprint()["readers of changes"] == 1
        for batch in range(200):
            await store.append(*(started(f"{batch:03}-{n:03}") for n in range(50)))
            await asyncio.sleep(0.02)
            if not served.server._manager.footprint()["readers of changes"]:
                break
        assert served.server._manager.footprint()["readers of changes"] == 0
        log = feed_of(served).log
        assert log is not None
        assert len(log.after(0)) <= changes.MOST


async def test_a_slow_reader_gets_the_present_or_a_reset(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST", 20)
    manager = served.server._manager
    async with following(served) as witness:
        with manager.follow(ListFilter(), None) as slow:
            (first,) = await slow.next_page(30)
            for n in range(3):
                await manager.store.append(*(started(f"{n}-{m:02}") for m in range(15)))
                await witness.handler(f"{n}-14")
            (only,) = await slow.next_page(30)
            assert (first.key, only.key) == (None, "reset")
            await manager.store.append(started("last"))
            assert [one.key for one in await slow.next_page(30)] == ["handler"]


def started(name: str) -> RunStarted:
    return RunStarted(name, "gone", f"run-{name}", 1.0, 0, None)


class Long(Workflow):
    """Runs a thousand steps, one after the other."""

    @step
    async def begin(self, ev: StartEvent) -> Part:
        return Part(n=0)

    @step
    async def go_on(self, ctx: Context, ev: Part) -> Part | StopEvent:
        return StopEvent(result=ev.n) if ev.n == 1_000 else Part(n=ev.n + 1)


async def test_a_run_of_many_steps_keeps_nobody_waiting(serve: Serve) -> None:
    served = await serve(workflows={"long": Long(timeout=None)})
    async with following(served) as follower:
        long = await served.start("long")
        others = [await served.finish("echo") for _ in range(5)]
        for handler_id in others:
            if not any(one["status"] == "completed" for one in follower.told(handler_id)):
                await follower.handler(handler_id, status="completed")
        if not any(one["status"] == "completed" for one in follower.told(long)):
            await follower.handler(long, status="completed")
        # Each step begins and ends, but for a few a second these are one line.
        assert len(follower.told(long)) < 500
        assert len(follower.told(others[0])) <= 4


async def test_what_cannot_be_read_is_a_reset(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store = served.server._manager.store
    read = store.list_page
    failures = [RuntimeError("a test")]

    async def fail_once(*given: Any, **how: Any) -> Any:
        if failures:
            raise failures.pop()
        return await read(*given, **how)

    async with following(served) as follower:
        monkeypatch.setattr(store, "list_page", fail_once)
        await served.start("ask")
        assert "reset" in await follower.line()
        await follower.handler(await served.finish("echo"), status="completed")
