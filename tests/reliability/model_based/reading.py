"""Rules that look: streams from any place, the shared queue, lists, handlers and results."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import strategies as st

from tests.harness.api import as_listed
from tests.reliability.model_based.model import Json, ModelHandler, visible
from tests.reliability.model_based.sending import Sending, event_body
from tests.reliability.model_based.session import a_handler, a_running_one, action, an_ended_one, places
from tests.reliability.model_based.world import CODES

STATUSES = ("running", "completed", "failed", "cancelled")
WORKFLOWS = ("notes", "other_notes", "totals")


class Reading(Sending):
    """Reads, and compares with what the model knows."""

    @action(
        a_handler,
        place=places, start=st.integers(-1, 40), internal=st.booleans(), sse=st.booleans(), names=st.booleans(),
        by_header=st.booleans(),
    )  # fmt: skip
    async def read(self, place: int, start: int, internal: bool, sse: bool, names: bool, by_header: bool) -> None:
        """From any cursor comes every later event, once, in order; what was read once is read again as it was."""
        handler = self.one(place)
        cursor = min(start, len(handler.lines) + 1)
        wanted = handler.after(cursor if cursor >= 0 else handler.first - 1, internal=internal)
        ended = handler.status != "running"
        query: Json = {"include_qualified_name": str(names).lower(), "sse": str(sse).lower(), "after_sequence": cursor}
        headers = {}
        if by_header and sse and cursor >= 0:
            query["after_sequence"] = 0
            headers["Last-Event-ID"] = str(cursor)
        async with self.world.stream(handler.handler_id, internal=internal, headers=headers, **query) as (code, lines):
            if ended and cursor >= len(handler.lines) - 1:
                assert code == 204
                return
            assert code == 200
            got = [line async for line in lines] if ended else [await anext(lines) for _ in wanted]
        if not names:
            wanted = [{**line, "qualified_name": None} for line in wanted]
        assert got == wanted, f"{got} instead of {wanted}"
        self.world.counts["reads from a cursor"] += 1

    @action(a_running_one, place=places)
    async def follow(self, place: int) -> None:
        """A reader that begins now gets what comes from now on."""
        handler = self.one_running(place)
        await self.world.settle(handler)
        number = self.world.number()
        got: list[Json] = []
        async with self.world.stream(handler.handler_id, internal=False, sse="false", after_sequence="now") as opened:
            code, lines = opened
            assert code == 200
            await self.send(handler, event_body("Note", number=number))
            handler.note(number)
            while not got or got[-1]["type"] != "Kept":
                got.append(await anext(lines))
        await self.world.settle(handler)
        assert [line["type"] for line in got if line["type"] != "Working"] == ["Kept"]
        assert got == handler.after(got[0]["sequence"] - 1, internal=False)[: len(got)]
        assert got[-1]["value"]["number"] == number

    @action(a_running_one, place=places, rival=st.booleans(), sse=st.booleans())
    async def read_queue(self, place: int, rival: bool, sse: bool) -> None:
        await self._read_queue(self.one_running(place), rival, sse)

    async def _read_queue(self, handler: ModelHandler, rival: bool, sse: bool) -> None:
        """The shared queue goes on where the reader before left it, and has one reader at a time."""
        number = self.world.number()
        await self.send(handler, event_body("Note", number=number))
        handler.note(number)
        await self.world.settle(handler)
        until = next(line["sequence"] for line in reversed(handler.lines) if line["type"] == "Kept")
        form = str(sse).lower()
        path = f"/events/{handler.handler_id}"
        async with self.world.stream(handler.handler_id, internal=False, sse=form, acquire_timeout=30) as (code, lines):
            assert code == 200
            got = await _up_to(lines, until)
            if rival:
                await self.world.wants(409, "GET", f"{path}?acquire_timeout=0.02")
        self._check_queue(handler, got, until)

    @action(an_ended_one, place=places, sse=st.booleans())
    async def drain_queue(self, place: int, sse: bool) -> None:
        ended = self.ended()
        await self._drain_queue(ended[place % len(ended)], sse)

    async def _drain_queue(self, handler: ModelHandler, sse: bool) -> None:
        """Read the rest of an ended run's queue, which comes once; then there is nothing."""
        form = str(sse).lower()
        last = len(handler.lines) - 1
        async with self.world.stream(handler.handler_id, internal=False, sse=form, acquire_timeout=30) as (code, lines):
            got = [line async for line in lines]
        assert code == 200 or handler.queue[1] > last, f"{code}, but {handler.queue} of {last} is left"
        assert code == 204 or handler.queue[0] <= last, f"{code}, but nothing of {last} is left after {handler.queue}"
        self._check_queue(handler, got, last)
        async with self.world.stream(handler.handler_id, internal=False, acquire_timeout=30) as (code, _):
            assert code == 204

    async def go_on(self) -> None:
        for handler in self.ended():
            await self._drain_queue(handler, sse=False)
        for handler in self.running():
            await self._read_queue(handler, rival=False, sse=False)

    def _check_queue(self, handler: ModelHandler, got: list[Json], last: int) -> None:
        least, most = handler.queue
        ways = [visible(handler.lines[start : last + 1], internal=False) for start in range(least, most + 1)]
        assert got in ways, f"the queue gave {got}; it stood between {least} and {most}: {ways}"
        handler.queue = (last + 1, last + 1)
        self.world.counts["reads of the queue"] += 1

    @action(a_handler, place=places)
    async def look(self, place: int) -> None:
        """A handler and its result, as the model has them."""
        handler = self.one(place)
        answer = await self.world.get(handler)
        result = await self.world.wants(CODES[handler.status], "GET", f"/results/{handler.handler_id}")
        plain = None if answer["result"] is None else answer["result"]["value"]["result"]
        beside = {"suspended", "held_events", "tags", "code_version"}
        assert result == {
            **{key: value for key, value in as_listed(answer).items() if key not in beside},
            "result": plain,
        }

    @action(
        statuses=st.lists(st.sampled_from(STATUSES), unique=True, max_size=3),
        workflows=st.lists(st.sampled_from(WORKFLOWS), unique=True, max_size=2),
    )
    async def list_some(self, statuses: list[str], workflows: list[str]) -> None:
        """The list of some statuses and some workflows."""
        query = "&".join([*(f"status={name}" for name in statuses), *(f"workflow_name={name}" for name in workflows)])
        listed = (await self.world.wants(200, "GET", f"/handlers?{query}"))["handlers"]
        chosen = [
            handler
            for handler in self.world.handlers.values()
            if handler.status in (statuses or STATUSES) and handler.workflow in (workflows or WORKFLOWS)
        ]
        self.world.compare_list(listed, chosen)
        await self.world.wants(400, "GET", f"/handlers?{query}&status=unheard")


async def _up_to(lines: AsyncIterator[Json], sequence: int) -> list[Json]:
    got: list[Json] = []
    while not got or got[-1]["sequence"] < sequence:
        got.append(await anext(lines))
    return got
