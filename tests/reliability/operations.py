"""What clients ask of the manager to start runs and to send to them, with what must hold after the asking was cancelled
somewhere.

Each operation has a tag of its own: its runs count their steps under it, so that nothing is done twice unseen.
"""

from __future__ import annotations

from typing import Any

from tests.reliability.instrumented_loop import Outcome
from tests.reliability.managed_runs import Http, key_of, last_event, request, steps, told, work_done
from tests.runtime.waiting import released
from workflow_server.errors import HandlerNotFound
from workflow_server.protocol.handlers import HandlerData
from workflow_server.records import InboxPosted, RunStarted
from workflow_server.runtime.manager import RuntimeManager


class Operation:
    """One thing to ask of the manager. ``covers`` names the coroutines that it attacks."""

    covers: tuple[str, ...] = ()

    def __init__(self, manager: RuntimeManager, tag: str) -> None:
        self.manager = manager
        self.tag = tag
        self.handler_id = ""

    async def prepare(self) -> None:
        """Make what the operation needs."""

    async def work(self) -> Any:
        """What is cancelled."""
        raise NotImplementedError

    def http(self) -> Http | None:
        """What asks for it over HTTP, where that changes anything."""
        return None

    def beside(self) -> list[Any]:
        """Coroutines of those who want the same at the same time; none of them may be forgotten."""
        return []

    async def check(self, outcome: Outcome) -> None:
        """Hold what is there against the promises, and end what was begun."""

    async def listen(self, *, out_of_memory: bool = False, workflow: str = "listen") -> str:
        """A run that waits to be told."""
        handler = await self.manager.start(workflow, request(self.tag, key=False))
        if out_of_memory:
            await released(self.manager, handler.handler_id)
        return handler.handler_id

    async def is_there(self, handler_id: str) -> bool:
        try:
            await self.manager.get_handler(handler_id)
        except HandlerNotFound:
            return False
        return True


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
    """Who waits for a run and goes away takes nothing from the run, nor from who waits beside."""

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
