"""A session: a server of its own, and requests that are drawn one after the other."""

from __future__ import annotations

import asyncio
import functools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.reliability.model_based.model import ModelHandler
from tests.reliability.model_based.world import World

NOTEBOOKS = ("notes", "other_notes")
MOST_HANDLERS = 10
"""Handlers of a session, so that none is asked for too rarely."""

places = st.integers(0, 59)
"""The index of an existing one: 60 is divided by most of their numbers."""

Need = Callable[["Session"], bool]


class Session(RuleBasedStateMachine):
    """The state that all rules share. Each acknowledgement goes into the model at once; the answers are the model's."""

    folder: ClassVar[Path]
    counts: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self._directory = Path(tempfile.mkdtemp(dir=self.folder))
        self._runner = asyncio.Runner()
        self.world = World(self._directory, self.counts)
        self._steps = 0
        self.since_death = 0
        """Steps since the server died last."""
        try:
            self._runner.run(self.world.open())
        except BaseException:
            self._runner.close()
            raise

    def act(self, work: Coroutine[Any, Any, None]) -> None:
        """One step, after which the list of handlers is the model's."""
        self._steps += 1
        self.since_death += 1
        self._runner.run(work)
        self._runner.run(self.world.check_list())

    def teardown(self) -> None:
        """All that was started is settled; then the file is compared and, after one more start, all that is shown."""
        failure = sys.exception()
        try:
            if failure is None:
                self._runner.run(self._compare())
                self.counts["examples"] += 1
                self.counts["steps"] += self._steps
        except BaseException as error:
            failure = error
            raise
        finally:
            self._runner.run(self.world.close(failure))
            self._runner.close()
            shutil.rmtree(self._directory)

    async def _compare(self) -> None:
        for handler in self.world.handlers.values():
            await self.world.settle(handler)
        await self.world.stop()
        await self.world.start()
        self.counts["clean restarts"] += 1
        await self.world.check_whole()
        await self.go_on()

    async def go_on(self) -> None:
        """After the last start, what runs still goes on, and the queues are where they were."""
        raise NotImplementedError

    async def instead(self) -> None:
        """The action where a rule finds nothing to do."""
        raise NotImplementedError

    # -- Choosing ----------------------------------------------------------------------------------

    def running(self) -> list[ModelHandler]:
        """The notebooks that are open."""
        return [handler for handler in self.world.handlers.values() if handler.status == "running"]

    def ended(self, *statuses: str) -> list[ModelHandler]:
        """The handlers whose runs are over."""
        wanted = statuses or ("completed", "failed", "cancelled")
        return [handler for handler in self.world.handlers.values() if handler.status in wanted]

    def one_running(self, place: int) -> ModelHandler:
        """One of the open notebooks."""
        there = self.running()
        return there[place % len(there)]

    def one(self, place: int) -> ModelHandler:
        """One of the handlers."""
        there = list(self.world.handlers.values())
        return there[place % len(there)]


def action(
    *needs: Need, **strategies: st.SearchStrategy[Any]
) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Any]:
    """A rule that is a coroutine. Where one of its needs is not met, the session does something else ``instead``.

    These are no preconditions: what hypothesis draws must not depend on what became of a request that died with the
    server.
    """

    def decorate(function: Callable[..., Coroutine[Any, Any, None]]) -> Any:
        @functools.wraps(function)
        def act(self: Session, **arguments: Any) -> None:
            able = all(need(self) for need in needs)
            self.act(function(self, **arguments) if able else self.instead())

        return _rule(**strategies)(act)

    return decorate


_rule: Callable[..., Any] = rule
"""Its overloads do not foresee that strategies come as a dictionary."""


def a_running_one(session: Session) -> bool:
    """A notebook is open."""
    return bool(session.running())


def an_ended_one(session: Session) -> bool:
    """The run of a handler is over."""
    return bool(session.ended())


def a_completed_one(session: Session) -> bool:
    """A handler can be continued."""
    return bool(session.ended("completed"))


def a_handler(session: Session) -> bool:
    """There is a handler."""
    return bool(session.world.handlers)


def room(session: Session) -> bool:
    """There may be one handler more."""
    return len(session.world.handlers) < MOST_HANDLERS
