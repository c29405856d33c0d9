"""Requests to the manager that change something: starts, continuations, events, cancels, retries and purges."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tests.harness.runs import damage, suspended
from tests.reliability.cancelling.instrumented_loop import LIMIT, Outcome
from tests.reliability.cancelling.operation import Http, Operation, key_of, last_event, request, steps, told, work_done
from tests.reliability.cancelling.store_operations import rows_of
from workflow_server.protocol.handlers import HandlerData, RetryRequest
from workflow_server.records import InboxPosted, ListFilter, RunEnded, RunLoaded, RunStarted
from workflow_server.runs.exceptions import HandlerNotRunning, RunAlreadyEnded, RunNotOver
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.internal_records import PurgeMarked

# -- Starting --------------------------------------------------------------------------------------


class Start(Operation):
    """With a key: whatever became of the first request, the next gives its answer, and the run runs once."""

    covers = ("RuntimeManager.start",)

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag))

    def beside(self) -> list[Any]:
        return [
            self.manager.start("once", request(f"{self.tag} beside", key=False)),
            self.manager.list_handlers(["running"], None),
        ]

    def http(self) -> Http | None:
        return Http("/workflows/once/run-nowait", RunStarted, {"start_event": {"tag": self.tag}}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        again = await self.manager.start("once", request(self.tag))
        assert outcome.cancelled or outcome.answer == again
        over = await self.manager.run("once", request(self.tag))
        assert (over.handler_id, over.status) == (again.handler_id, "completed")
        assert steps[self.tag] == 1


class StartTogether(Start):
    """The same key at the same time: the other one gets the answer that both would have got."""

    def beside(self) -> list[Any]:
        return [self.manager.start("once", request(self.tag)), self.manager.run("once", request(self.tag))]


class StartWithoutKey(Operation):
    """A cancelled start is wholly there and goes on to its end, or wholly absent."""

    covers = ("RuntimeManager.start", "RuntimeManager.list_handlers")

    async def prepare(self) -> None:
        self.known = {handler.handler_id for handler in await self.manager.list_handlers(None, ["once"])}

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag, key=False))

    def http(self) -> Http:
        return Http("/workflows/once/run-nowait", RunStarted, {"start_event": {"tag": self.tag}})

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        new = [one for one in await self.manager.list_handlers(None, ["once"]) if one.handler_id not in self.known]
        assert len(new) == (1 if outcome.began else 0)
        for handler in new:
            assert '"result":1' in await last_event(self.manager, handler.handler_id)
        assert steps[self.tag] == len(new)


class Continue(Operation):
    """A cancelled continuation leaves the handler completed, once or twice, and never in between."""

    covers = ("RuntimeManager.start",)

    async def prepare(self) -> None:
        self.first = await self.manager.run("once", request(self.tag, key=False))
        self.handler_id = self.first.handler_id

    async def work(self) -> HandlerData:
        return await self.manager.start("once", request(self.tag, key=False, handler_id=self.handler_id))

    def http(self) -> Http:
        body = {"start_event": {"tag": self.tag}, "handler_id": self.handler_id}
        return Http("/workflows/once/run-nowait", RunStarted, body)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        runs = 2 if outcome.began else 1
        assert f'"result":{runs}' in await last_event(self.manager, self.handler_id)
        over = await self.manager.run("once", request(self.tag, key=False, handler_id=self.handler_id))
        assert over.result is not None
        assert over.result.value["result"] == runs + 1 == steps[self.tag]


class Run(Start):
    """A client that waits for a run and goes away takes nothing from the run, nor from others who wait."""

    covers = ("RuntimeManager.run",)

    async def work(self) -> HandlerData:
        return await self.manager.run("once", request(self.tag))

    def beside(self) -> list[Any]:
        return [self.manager.run("once", request(self.tag)), self.manager.start("once", request(self.tag))]

    def http(self) -> Http | None:
        return Http("/workflows/once/run", RunStarted, {"start_event": {"tag": self.tag}}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        over = await self.manager.run("once", request(self.tag))
        assert over.status == "completed"
        assert outcome.cancelled or outcome.answer == over
        assert steps[self.tag] == 1


class RunAgain(Run):
    """The same of a run that has ended already: there is nothing to commit."""

    def http(self) -> Http | None:
        return None

    async def prepare(self) -> None:
        await self.manager.run("once", request(self.tag))


# -- Sending ---------------------------------------------------------------------------------------


class Send(Operation):
    """A cancelled event arrives wholly or not; with its key, sent again, it has arrived exactly once."""

    covers = ("RuntimeManager.send",)
    out_of_memory = False

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=self.out_of_memory)

    async def work(self) -> None:
        await self.manager.send(self.handler_id, told("once"), None, key_of(self.tag, {"event": told("once")}))

    def beside(self) -> list[Any]:
        return [
            self.manager.send(self.handler_id, told("beside"), "told", None),
            self.manager.get_handler(self.handler_id),
        ]

    def http(self) -> Http:
        return Http(f"/events/{self.handler_id}", InboxPosted, {"event": told("once")}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        await self.work()
        await self.manager.send(self.handler_id, told("last"), None, None)
        last = await last_event(self.manager, self.handler_id)
        heard = ('["once","beside","last"]', '["beside","once","last"]')
        assert any(f'"result":{one}' in last for one in heard), last


class SendToReleased(Send):
    """The same to a run that has left memory, and is taken up for it."""

    out_of_memory = True


class SendWithoutKey(Send):
    """Without a key: it has arrived, since it was handed over, and once."""

    async def work(self) -> None:
        await self.manager.send(self.handler_id, told("once"), None, None)

    def http(self) -> Http:
        return super().http()._replace(key=None)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        await self.manager.send(self.handler_id, told("last"), None, None)
        last = await last_event(self.manager, self.handler_id)
        assert last.count('"once"') == (1 if outcome.began else 0), last
        assert last.count('"beside"') == last.count('"last"') == 1, last


class ResumeSuspended(Operation):
    """A cancelled try to resume a suspended run has loaded it, or the next try does; nothing posted to it is lost."""

    covers = ("RuntimeManager.retry",)

    async def prepare(self) -> None:
        self.handler_id = await self.listen(out_of_memory=True)
        self._change("INSERT INTO inbox (inbox_id, handler_id, run_id, event) SELECT -1, handler_id, run_id, '{'")
        await self.manager.send(self.handler_id, told("once"), None, None)
        await suspended(self.manager, self.handler_id)
        self._change("DELETE", "inbox")

    def _change(self, what: str, table: str = "handlers") -> None:
        """Let the run be suspended: an event in its inbox cannot be read; or put that right."""
        where = "" if table == "handlers" else " AND inbox_id = -1"
        damage(self.path, f"{what} FROM {table} WHERE handler_id = ?{where}", self.handler_id)

    async def work(self) -> HandlerData:
        return await self.manager.retry(self.handler_id, RetryRequest())

    def http(self) -> Http | None:
        return Http(f"/handlers/{self.handler_id}/retry", RunLoaded)

    def beside(self) -> list[Any]:
        return [
            self.manager.send(self.handler_id, told("beside"), None, None),
            self.manager.get_handler(self.handler_id),
        ]

    async def check(self, outcome: Outcome) -> None:
        if outcome.cancelled:
            with suppress(RunNotOver):
                await self.work()
        await self.manager.send(self.handler_id, told("last"), None, None)
        assert '"result":["once","beside","last"]' in await last_event(self.manager, self.handler_id)


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


class CancelMatching(Cancel):
    """The same of all runs that match a filter, which is this one."""

    covers = ("RuntimeManager.cancel_matching",)

    async def work(self) -> None:
        await self.manager.cancel_matching(ListFilter(text=self.handler_id), None, 10)

    def http(self) -> Http:
        return Http(f"/bulk/cancel?q={self.handler_id}&running=true", RunEnded)


# -- Retrying --------------------------------------------------------------------------------------


class Retry(Operation):
    """A cancelled retry leaves the run as it ended, or has another one going on in its place."""

    covers: tuple[str, ...] = ("RuntimeManager.retry",)

    async def prepare(self) -> None:
        self.handler_id = await self.listen()
        await self.manager.cancel(self.handler_id)

    async def work(self) -> Any:
        return await self.manager.retry(self.handler_id, RetryRequest())

    def http(self) -> Http | None:
        return Http(f"/handlers/{self.handler_id}/retry", RunStarted)

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        status = (await self.manager.get_handler(self.handler_id)).status
        assert status == ("running" if outcome.began else "cancelled")
        if not outcome.began:
            await self.manager.retry(self.handler_id, RetryRequest())
        await self.ends(self.handler_id)

    async def ends(self, handler_id: str) -> None:
        """Tell the run the last, and see it end with that."""
        await self.manager.send(handler_id, told("last"), None, None)
        assert '"result":["last"]' in await last_event(self.manager, handler_id)


class RetryWithKey(Retry):
    """With a key: whatever became of the first request, the next gives its answer, and the run is retried once."""

    async def work(self) -> Any:
        return await self.manager.retry(self.handler_id, RetryRequest(key=key_of(self.tag, {})))

    def beside(self) -> list[Any]:
        return [self.work(), self.manager.get_handler(self.handler_id)]

    def http(self) -> Http | None:
        return Http(f"/handlers/{self.handler_id}/retry", RunStarted, {}, self.tag)

    async def check(self, outcome: Outcome) -> None:
        again = await self.work()
        assert outcome.cancelled or outcome.answer == again
        assert (await self.manager.get_handler(self.handler_id)).run_id == again.run_id
        await self.ends(self.handler_id)


class Fork(Retry):
    """A cancelled fork has made a handler that goes on, or none, and leaves its own as it is."""

    async def prepare(self) -> None:
        await super().prepare()
        self.before = await self.manager.get_handler(self.handler_id)
        self.known = await self.running()

    async def running(self) -> set[str]:
        """The handlers that run."""
        return {handler.handler_id for handler in await self.manager.list_handlers(["running"], ["listen"])}

    async def work(self) -> Any:
        return await self.manager.retry(self.handler_id, RetryRequest(fork=True))

    def http(self) -> Http | None:
        return Http(f"/handlers/{self.handler_id}/retry", RunStarted, {"fork": True})

    async def check(self, outcome: Outcome) -> None:
        await work_done(self.manager)
        assert await self.manager.get_handler(self.handler_id) == self.before
        forks = await self.running() - self.known
        assert len(forks) == int(outcome.began)
        for handler_id in forks:
            await self.ends(handler_id)


class RetryMatching(Retry):
    """The same of all runs that match a filter, which is this one."""

    covers = ("RuntimeManager.retry_matching",)

    async def work(self) -> None:
        wanted = ListFilter(("cancelled",), text=self.handler_id)
        await self.manager.retry_matching(wanted, None, 10, RetryRequest())

    def http(self) -> Http | None:
        return Http(f"/bulk/retry?q={self.handler_id}&status=cancelled", RunStarted)


# -- Deleting --------------------------------------------------------------------------------------


class Purge(Operation):
    """A cancelled purge has removed all of the handler, or not touched it; its readers end."""

    covers: tuple[str, ...] = ("RuntimeManager.purge", "RuntimeManager.get_handler")
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
            """The events that it still gets."""
        assert isinstance(self.manager.store, SqliteWorkflowStore)
        assert await rows_of(self.manager.store, self.handler_id) == 0


class PurgeReleased(Purge):
    """The same of a run that has left memory."""

    out_of_memory = True


class PurgeMatching(Purge):
    """The same of all handlers that match a filter, which is this one."""

    covers = ("RuntimeManager.purge_matching",)

    async def work(self) -> None:
        await self.manager.purge_matching(ListFilter(text=self.handler_id), None, 10)

    def http(self) -> Http:
        return Http(f"/bulk/cancel?q={self.handler_id}&running=true&purge=true", PurgeMarked)


CHANGING: tuple[type[Operation], ...] = (
    Start, StartTogether, StartWithoutKey, Continue, Run, RunAgain, Send, SendToReleased, SendWithoutKey,
    ResumeSuspended, Cancel, CancelReleased, CancelQueued, CancelMatching, Retry, RetryWithKey, Fork, RetryMatching,
    Purge, PurgeReleased, PurgeMatching,
)  # fmt: skip
