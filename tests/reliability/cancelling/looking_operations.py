"""Requests to the manager that change nothing: looks, and readers with a cursor and of the shared queue."""

from __future__ import annotations

import json
from typing import Any

from tests.reliability.cancelling.instrumented_loop import LIMIT, Outcome
from tests.reliability.cancelling.operation import Operation, last_event, request, told
from workflow_server.records import ListFilter, Period


class Look(Operation):
    """A cancelled look leaves what is looked at to the next."""

    covers = (
        "RuntimeManager.get_handler",
        "RuntimeManager.describe_handler",
        "RuntimeManager.list_handlers",
        "RuntimeManager.handler_page",
        "RuntimeManager.handlers_matching",
        "RuntimeManager.count_handlers",
        "RuntimeManager.server_state",
        "RuntimeManager.state",
        "RuntimeManager.workflow_statistics",
        "RuntimeManager.count_now",
        "RuntimeManager.doing",
        "RuntimeManager.count_failed",
        "RuntimeManager.history",
        "RuntimeManager.misfits",
    )

    async def prepare(self) -> None:
        self.handler_id = (await self.manager.run("once", request(self.tag))).handler_id

    async def work(self) -> Any:
        one = await self.manager.get_handler(self.handler_id)
        if (await self.manager.describe_handler(self.handler_id)).stalled:
            return False
        wanted = ListFilter(["completed"], ["once"], newest_first=True)
        pages = [page async for page in self.manager.handler_pages(wanted)]
        paged = [json.loads(f"{before}null{after}")["handler_id"] for page in pages for before, _, after in page]
        newest, _ = await self.manager.handler_page(wanted, None, 1, with_results=False, with_now=True)
        if min((await self.manager.count_now()).values()) < 0 or await self.manager.count_failed(60.0) < 0:
            return False
        matching = await self.manager.handlers_matching(wanted._replace(text=self.handler_id), None, 10)
        assert matching.handler_ids == [self.handler_id]
        entries, following = await self.manager.history(self.handler_id, None, 1)
        assert (len(entries), following is None) == (1, False)
        stored = await self.manager.store.load_run(self.handler_id)
        assert stored is not None
        if await self.manager.misfits([stored]):
            return False
        if json.loads(await self.manager.state(self.handler_id))["handler_id"] != self.handler_id:
            return False
        state = await self.manager.server_state()
        if "once" not in {versions.workflow_name for versions in state.code_versions}:
            return False
        found = await self.manager.workflow_statistics("once", Period(0.0, 1e10, 2))
        if not sum(bucket.completed for bucket in found.runs.buckets):
            return False
        nothing, _ = await self.manager.handler_page(
            await self.manager.doing(wanted, ["waiting"]), None, 1, with_results=False
        )
        if nothing:
            return False
        counts = await self.manager.count_handlers()
        if len(newest) != 1 or not any(count.workflow_name == "once" for count in counts):
            return False
        return one in await self.manager.list_handlers(["completed"], ["once"]) and paged.count(self.handler_id) == 1

    async def check(self, outcome: Outcome) -> None:
        assert outcome.cancelled or outcome.answer is True
        assert await self.work()


class Read(Operation):
    """A cancelled read with a cursor moves nothing: the same reader goes on with the next event, and so does any."""

    covers = ("RuntimeManager.open_cursor", "EventReader.next_page", "EventReader.written", "EventReader.close")

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        self.seen: list[int] = []
        self.reader: Any = None

    async def work(self) -> None:
        self.reader = await self.manager.open_cursor(self.handler_id, -1)
        await self.read_on()

    async def read_on(self) -> None:
        assert self.reader is not None
        while page := await self.reader.next_page(LIMIT):
            self.seen += [event.sequence for event in page]
            await self.reader.written(page[-1].sequence)
        await self.reader.close()

    def beside(self) -> list[Any]:
        return [self.manager.send(self.handler_id, told("last"), None, None), last_event(self.manager, self.handler_id)]

    async def check(self, outcome: Outcome) -> None:
        if self.reader is None:
            await self.work()
        elif outcome.cancelled:
            await self.read_on()
        log = await self.manager.store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]


class ReadQueue(Operation):
    """A reader that leaves the shared queue, or the line for it, hands it to the next, who loses nothing."""

    covers = ("RuntimeManager.open_queue", "QueueReader.next_page", "QueueReader.written", "QueueReader.close")

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        self.seen: list[int] = []

    async def work(self) -> None:
        await self._take_turn(leave_after=None)

    async def _take_turn(self, leave_after: int | None) -> None:
        reader = await self.manager.open_queue(self.handler_id, LIMIT)
        if reader is None:
            return
        turns = 0
        try:
            while turns != leave_after and (page := await reader.next_page(LIMIT)):
                for event in page:
                    self.seen.append(event.sequence)
                    await reader.written(event.sequence)
                turns += 1
        finally:
            await reader.close()

    def beside(self) -> list[Any]:
        return [
            self._take_turn(leave_after=1),
            self.manager.send(self.handler_id, told("last"), None, None),
            self._take_turn(leave_after=1),
        ]

    async def check(self, outcome: Outcome) -> None:
        await self._take_turn(leave_after=None)
        log = await self.manager.store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]


class Follow(Operation):
    """A reader of changes that is cancelled goes on, or another from its cursor: the end of a run is told."""

    covers = ("ChangeReader.next_page",)

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        self.cursor: str | None = None

    async def work(self) -> None:
        await self.follow()

    async def follow(self) -> None:
        with self.manager.follow(ListFilter(text=self.handler_id), self.cursor) as reader:
            while True:
                page = await reader.next_page(LIMIT)
                assert not [one for one in page if one.key == "reset"]
                self.cursor = reader.cursor()
                if any(one.key == "handler" and '"status":"completed"' in one.value for one in page):
                    return

    def beside(self) -> list[Any]:
        return [self.manager.send(self.handler_id, told("last"), None, None), last_event(self.manager, self.handler_id)]

    async def check(self, outcome: Outcome) -> None:
        if outcome.cancelled and self.cursor is not None:
            await self.follow()
        assert self.manager.footprint()["readers of changes"] == 0


LOOKING: tuple[type[Operation], ...] = (Look, Read, ReadQueue, Follow)
