"""Races of one request, or two alike, with what becomes of its run meanwhile; and what must be true of the answers.

Each race starts a run of its own, lets the run's rival for it go off (its end, its release, its resumption), and asks
after a moment that chance takes. An answer that is wrong fails the race by itself; what the database holds of all of
them is looked at when they are over (``aftermath.py``).
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tests.reliability.racing.arena import GO, SIDE_BY_SIDE, TURN, Arena, note
from workflow_server.errors import HandlerNotFound, WorkflowServerError
from workflow_server.protocol.handlers import HandlerData, IdempotencyKey, RunRequest
from workflow_server.records import InboxPosted, RunStarted, Status
from workflow_server.runs.exceptions import CompletedHandlerNotFound, HandlerNotRunning, HandlerRunning, RunAlreadyEnded

NUMBERS = 1_000_000
"""Of its own that each race has."""
TOGETHER = 0.001
"""Seconds within which the same is asked twice."""


@dataclass
class Fate:
    """The state in which a handler must be found after its race."""

    handler_id: str
    run_ids: list[str]
    status: Status | None = None
    """None where both ends are right, or where the run goes on."""
    gone: bool = False
    kept: list[int] = field(default_factory=list)
    """The notes that were acknowledged, and must have been taken once each."""
    over: bool = True


class Race(ABC):
    """One kind of request."""

    name: ClassVar[str]

    def __init__(self, arena: Arena, chance: random.Random, rival: str, number: int) -> None:
        self.arena = arena
        self.manager = arena.manager
        self.rival = rival
        self.number = number
        self.chance = chance
        self.won: str | None = None
        # Around the moment at which the rival has come about.
        self.moment = arena.pace[rival] * chance.uniform(0.7, 1.3)

    async def run(self) -> Fate:
        """Hold the race; returns what must be found afterwards.

        Raises:
            AssertionError: an answer was not so.
        """
        begun = await self.begin()
        assert begun.run_id is not None
        fate = Fate(begun.handler_id, [begun.run_id])
        if self.rival != "own end":
            await self.arena.waiting(begun.run_id)
        if self.rival == "resumption":
            await self.arena.released(begun.run_id)
        answers = await asyncio.gather(self.go_off(fate), *(self.later(fate) for _ in range(2)), return_exceptions=True)
        rival, *asked = answers
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, WorkflowServerError):
                raise answer
        await self.check(fate, rival, asked)
        return fate

    async def begin(self) -> HandlerData:
        """Start the run of this race."""
        return await self.manager.start("racer", RunRequest(self.start_event))

    @property
    def start_event(self) -> dict[str, object]:
        """The fields of the run's start event."""
        return {"waits": self.rival != "own end"}

    async def go_off(self, fate: Fate) -> object:
        """Set off the rival of the request."""
        if self.rival == "end":
            await self.manager.send(fate.handler_id, GO, None, None)
        elif self.rival == "resumption":
            await self.manager.send(fate.handler_id, note(self.number), None, None)
            fate.kept.append(self.number)
        # A release and an end of its own come by themselves.
        return None

    async def later(self, fate: Fate) -> object:
        """Ask, a moment later."""
        await asyncio.sleep(self.moment + self.chance.random() * TOGETHER)
        self.arena.learn(self.rival, early=not self.arena.has_come_about(self.rival, fate.run_ids[0]))
        return await self.ask(fate)

    @abstractmethod
    async def ask(self, fate: Fate) -> object:
        """The request."""

    @abstractmethod
    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        """Check that the answers agree with each other; an answer may be a refusal."""

    async def finish(self, fate: Fate) -> None:
        """End a run that waits."""
        if self.rival not in ("end", "own end"):
            await self.manager.send(fate.handler_id, GO, None, None)
        await self.arena.ended(fate.run_ids[0])
        fate.status = "completed"


def only(answers: Sequence[object], *kinds: type) -> Sequence[object]:
    """The answers that are of these kinds; there are no others but those that went well."""
    refused = [answer for answer in answers if isinstance(answer, WorkflowServerError)]
    assert all(isinstance(answer, kinds) for answer in refused), refused
    return refused


class Cancel(Race):
    name = "cancel"

    async def ask(self, fate: Fate) -> object:
        await self.manager.cancel(fate.handler_id)
        return None

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        refused = only(asked, HandlerNotRunning)
        assert isinstance(rival, RunAlreadyEnded) or not isinstance(rival, WorkflowServerError)
        fate.status = "completed" if len(refused) == len(asked) else "cancelled"
        self.won = fate.status
        assert len(refused) >= len(asked) - 1, "a run was cancelled twice"
        for refusal in refused:
            assert isinstance(refusal, HandlerNotRunning)
            assert refusal.status == fate.status, f"{refusal}, and it is {fate.status}"
        assert (await self.manager.get_handler(fate.handler_id)).status == fate.status
        # What is acknowledged to a run that is cancelled need not be taken.
        fate.kept.clear()


class Purge(Race):
    name = "purge"

    async def ask(self, fate: Fate) -> object:
        await self.manager.purge(fate.handler_id)
        return None

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        assert len(only(asked, HandlerNotFound)) == 1, asked
        assert isinstance(rival, (HandlerNotFound, RunAlreadyEnded)) or not isinstance(rival, WorkflowServerError)
        fate.gone = True
        for work in (self.manager.get_handler, self.manager.cancel, self.manager.purge):
            await self._not_found(work, fate.handler_id)

    @staticmethod
    async def _not_found(work: Callable[[str], Awaitable[object]], handler_id: str) -> None:
        try:
            await work(handler_id)
        except HandlerNotFound:
            return
        raise AssertionError(f"{handler_id} was purged, and is there")


class Continue(Race):
    name = "continue"

    async def ask(self, fate: Fate) -> object:
        request = RunRequest({"waits": False}, handler_id=fate.handler_id)
        return await self.manager.start("racer", request)

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        refused = only(asked, HandlerRunning)
        assert not isinstance(rival, WorkflowServerError), rival
        for answer in asked:
            if isinstance(answer, HandlerData):
                assert answer.run_id is not None
                fate.run_ids.append(answer.run_id)
        fate.run_ids.sort(key=self._place)
        self.won = f"{len(asked) - len(refused)} continued"
        if self.rival in ("release", "resumption"):
            assert len(refused) == len(asked), "a run that was not over was continued"
            await self.finish(fate)
        await self.arena.ended(fate.run_ids[-1])
        fate.status = "completed"
        handler = await self.manager.get_handler(fate.handler_id)
        assert handler.run_id == fate.run_ids[-1]
        assert handler.result is not None
        assert handler.result.value == {"result": len(fate.run_ids)}

    def _place(self, run_id: str) -> int:
        commits = self.arena.commits
        (started,) = commits.of(run_id, RunStarted)
        return commits.records.index(started)


class Send(Race):
    name = "send"

    async def ask(self, fate: Fate) -> object:
        number = self.number + self.chance.randrange(1, NUMBERS)
        await self.manager.send(fate.handler_id, note(number), None, None)
        fate.kept.append(number)
        return number

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        refused = only(asked, RunAlreadyEnded)
        self.won = f"{len(asked) - len(refused)} sent"
        if self.rival in ("release", "resumption"):
            assert not refused, refused
        await self.finish(fate)
        assert not self.arena.posted_after_the_end(fate.run_ids[0]), "an event was acknowledged after the run's end"
        if self.rival in ("end", "own end"):
            # One that was acknowledged just before the end need not have been taken.
            fate.kept.clear()


class RetrySend(Send):
    """The same event under one key, however often it is sent, is sent once."""

    name = "retry of a send"

    async def ask(self, fate: Fate) -> object:
        key = IdempotencyKey(f"send {self.number}", "hash")
        await self.manager.send(fate.handler_id, note(self.number + 1), None, key)
        if self.number + 1 not in fate.kept:
            fate.kept.append(self.number + 1)
        return self.number + 1

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        await super().check(fate, rival, asked)
        sent = len(asked) - len(only(asked, RunAlreadyEnded))
        try:
            await self.ask(Fate(fate.handler_id, []))
        except RunAlreadyEnded:
            assert not sent, "what was acknowledged is refused under the same key"
        else:
            assert sent, "what was refused is acknowledged under the same key"
        own = self.arena.commits.of(fate.run_ids[0], InboxPosted)
        assert sum(f"{self.number + 1}" in getattr(record, "event", "") for record in own) == bool(sent)


class RetryStart(Race):
    """The same start under one key, while its run ends, starts nothing and is answered alike."""

    name = "retry of a start"

    async def begin(self) -> HandlerData:
        self.answer = await self.manager.start("racer", self.request)
        return self.answer

    @property
    def request(self) -> RunRequest:
        return RunRequest(self.start_event, key=IdempotencyKey(f"start {self.number}", "hash"))

    async def ask(self, fate: Fate) -> object:
        if self.chance.randrange(2) and self.rival in ("end", "own end"):
            over = await self.manager.run("racer", self.request)
            assert over.status == "completed"
            return over
        again = await self.manager.start("racer", self.request)
        assert again == self.answer
        return again

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        assert only([rival, *asked], CompletedHandlerNotFound) == []
        assert {answer.run_id for answer in asked if isinstance(answer, HandlerData)} == {self.answer.run_id}
        await self.finish(fate)
        assert self.arena.starts(fate.handler_id) == 1


class Mixed(Race):
    """Different requests at once: each answer is one that they allow each other."""

    name = "cancel, purge, continue and send"

    async def run(self) -> Fate:
        self.asked: list[str] = []
        return await super().run()

    async def ask(self, fate: Fate) -> object:
        what = self.chance.choice(("cancel", "purge", "continue", "send"))
        self.asked.append(what)
        handler_id = fate.handler_id
        match what:
            case "cancel":
                await self.manager.cancel(handler_id)
            case "purge":
                await self.manager.purge(handler_id)
                fate.gone = True
            case "send":
                await self.manager.send(handler_id, note(self.number + len(self.asked)), None, None)
            case _:
                begun = await self.manager.start("racer", RunRequest({"waits": False}, handler_id=handler_id))
                assert begun.run_id is not None
                fate.run_ids.append(begun.run_id)
        return what

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        over = (HandlerNotFound, HandlerNotRunning, RunAlreadyEnded, HandlerRunning, CompletedHandlerNotFound)
        only([rival, *asked], *over)
        self.won = " and ".join(sorted(answer for answer in asked if isinstance(answer, str))) or "nothing"
        if not fate.gone:
            handler = await self.manager.get_handler(fate.handler_id)
            if handler.status == "running":
                await self._finish_last(fate)
            fate.status = (await self.manager.get_handler(fate.handler_id)).status
        fate.kept.clear()

    async def _finish_last(self, fate: Fate) -> None:
        if len(fate.run_ids) == 1 and self.rival in ("release", "resumption"):
            await self.manager.send(fate.handler_id, GO, None, None)
        await self.arena.ended(fate.run_ids[-1])


class Queued(Race):
    """A run is cancelled or purged about the moment at which it gets its slot; the one behind it gets that in turn."""

    name = "cancel and purge of a queued run"

    def __init__(self, arena: Arena, chance: random.Random, rival: str, number: int) -> None:
        super().__init__(arena, chance, TURN, number)
        self.queue = f"queue{number // NUMBERS % SIDE_BY_SIDE}"

    async def run(self) -> Fate:
        self.first, second, third = [
            await self.manager.start(self.queue, RunRequest(self.start_event)) for _ in range(3)
        ]
        assert self.first.run_id is not None
        assert second.run_id is not None
        await self.arena.waiting(self.first.run_id)
        fate = Fate(second.handler_id, [second.run_id], "cancelled")
        self.work = self.chance.choice((self.manager.cancel, self.manager.purge))
        fate.gone = self.work == self.manager.purge
        rival, *asked = await asyncio.gather(
            self.go_off(fate), *(self.later(fate) for _ in range(2)), return_exceptions=True
        )
        await self.check(fate, rival, list(asked))
        assert third.run_id is not None
        await self.arena.waiting(third.run_id)
        await self.manager.send(third.handler_id, GO, None, None)
        await self.arena.ended(third.run_id)
        return fate

    async def go_off(self, fate: Fate) -> object:
        await self.manager.send(self.first.handler_id, GO, None, None)
        return None

    async def ask(self, fate: Fate) -> object:
        await self.work(fate.handler_id)
        return None

    async def check(self, fate: Fate, rival: object, asked: list[object]) -> None:
        assert rival is None, rival
        assert len(only(asked, HandlerNotFound, HandlerNotRunning)) == 1, asked
        self.won = "purged" if fate.gone else "cancelled"


RACES: tuple[type[Race], ...] = (Cancel, Purge, Continue, Send, RetrySend, RetryStart, Mixed, Queued)
