"""What clients ask of the manager of runs that are there: to end them, to look at them and to read them."""

from __future__ import annotations

from typing import Any

from tests.reliability.instrumented_loop import LIMIT, Outcome
from tests.reliability.managed_runs import Http, last_event, request, told, work_done
from tests.reliability.operations import Operation
from tests.reliability.store_operations import rows_of
from workflow_server.errors import HandlerNotRunning, RunAlreadyEnded
from workflow_server.records import RunEnded
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.maintenance import PurgeMarked

# -- Ending ----------------------------------------------------------------------------------------


class Cancel(Operation):
    """A cancelled cancel has ended the run, with its terminal event, or not touched it."""

    covers = ("RuntimeManager.cancel",)
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)

    async def work(self) -> None:
        await self.manager.cancel(self.handler_id)

    def beside(self) -> list[Any]:
        return [self.manager.get_handler(self.handler_id)]

    def http(self) -> Http:
        return Http(f"/handlers/{self.handler_id}/cancel", RunEnded)

    async def check(self, outcome: Outcome) -> None:
        if outcome.cancelled:
            try:
                await self.manager.cancel(self.handler_id)
            except HandlerNotRunning:
                assert outcome.began
        assert "WorkflowCancelledEvent" in await last_event(self.manager, self.handler_id)
        assert (await self.manager.get_handler(self.handler_id)).status == "cancelled"
        try:
            await self.manager.send(self.handler_id, told("late"), None, None)
        except RunAlreadyEnded:
            return
        raise AssertionError("a run that was cancelled took an event")


class CancelReleased(Cancel):
    """The same of a run that has left memory."""

    out_of_memory = True


class CancelQueued(Cancel):
    """The same of a run that waits for a slot: the next in the line gets it."""

    async def prepare(self) -> None:
        self.holder = await self.listen(workflow="one-by-one")
        self.handler_id = await self.listen(workflow="one-by-one")
        self.next = await self.listen(workflow="one-by-one")

    async def check(self, outcome: Outcome) -> None:
        await super().check(outcome)
        for handler_id in (self.holder, self.next):
            await self.manager.send(handler_id, told("last"), None, None)
            assert '"result":["last"]' in await last_event(self.manager, handler_id)


class Purge(Operation):
    """A cancelled purge has removed all of the handler, or not touched it; its readers end."""

    covers = ("RuntimeManager.purge", "RuntimeManager.get_handler")
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)
        self.reader = await self.manager.open_cursor(self.handler_id, "now")

    async def work(self) -> None:
        await self.manager.purge(self.handler_id)

    def http(self) -> Http:
        return Http(f"/handlers/{self.handler_id}/cancel?purge=true", PurgeMarked)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        assert await self.is_there(self.handler_id) == (not outcome.began)
        if not outcome.began:
            await self.manager.purge(self.handler_id)
        assert self.reader is not None
        while await self.reader.next_page(LIMIT):
            """What it still gets."""
        assert isinstance(self.manager._store, SqliteWorkflowStore)
        assert await rows_of(self.manager._store, self.handler_id) == 0


class PurgeReleased(Purge):
    """The same of a run that has left memory."""

    out_of_memory = True


# -- Looking and reading ---------------------------------------------------------------------------


class Look(Operation):
    """A cancelled look leaves what is looked at to the next."""

    covers = ("RuntimeManager.get_handler", "RuntimeManager.list_handlers")

    async def prepare(self) -> None:
        self.handler_id = (await self.manager.run("once", request(self.tag))).handler_id

    async def work(self) -> Any:
        one = await self.manager.get_handler(self.handler_id)
        return one in await self.manager.list_handlers(["completed"], ["once"])

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
        log = await self.manager._store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]


class ReadQueue(Operation):
    """Who leaves the shared queue, or the line for it, leaves it to the next, who loses nothing."""

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
        log = await self.manager._store.read_events(self.handler_id, -1, 1_000)
        assert self.seen == [event.sequence for event in log]
