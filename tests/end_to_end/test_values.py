"""Every kind of value comes back equal and of the same type, in every place, after a kill, a release and a continue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.end_to_end.test_idle_release import released
from tests.harness.server_process import DurableServer
from tests.values.carrying import CONTINUED_PLACES, WAITING_PLACES, name_of, start_of
from tests.values.kinds import KINDS, Kind

pytestmark = pytest.mark.slow(25)

AT_ONCE = 16
TYPED = (True, False)

Found = dict[str, str | None]


class Carried(NamedTuple):
    """Places where the value of one kind was found to differ."""

    killed: Found
    released: Found
    continued: Found


Outcomes = dict[str, Carried | BaseException]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return asyncio.run(carried(tmp_path_factory.mktemp("values")))


async def carried(folder: Path) -> Outcomes:
    """Carry all values: half of the runs are killed, half of them released, and those are continued."""
    kinds = {name_of(kind, typed=typed): kind for typed in TYPED for kind in KINDS}
    async with DurableServer(folder, "values.py") as server:
        server.environment["WORKFLOW_SERVER_IDLE_TIMEOUT"] = "0"
        await server.restart()
        killed = await each(kinds, lambda name: start(server, name, kinds[name]))
        await each(killed, lambda name: asking(server, killed[name]))
        server.environment["WORKFLOW_SERVER_IDLE_TIMEOUT"] = "0.2"
        await server.restart()
        after_kill = await each(killed, lambda name: answer(server, killed[name]))
        idle = await each(kinds, lambda name: start(server, name, kinds[name]))
        await released(server, sum(isinstance(handler, str) for handler in idle.values()))
        after_release = await each(idle, lambda name: answer(server, idle[name]))
        again = await each(idle, lambda name: go_on(server, name, kinds[name], idle[name]))
    return {name: together(after_kill[name], after_release[name], again[name]) for name in kinds}


def together(killed: Any, released: Any, continued: Any) -> Carried | BaseException:
    errors = [found for found in (killed, released, continued) if isinstance(found, BaseException)]
    return errors[0] if errors else Carried(killed, released, continued)


async def each(names: Iterable[str], do: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    """Do something for each name, some at once; return the results, or the errors for the caller to look at."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Any:
        async with gate:
            return await do(name)

    listed = list(names)
    return dict(zip(listed, await asyncio.gather(*map(one, listed), return_exceptions=True), strict=True))


async def start(server: DurableServer, name: str, kind: Kind) -> str:
    return str((await server.api.start(name, v=start_of(kind)))["handler_id"])


async def asking(server: DurableServer, handler_id: str) -> None:
    """Return when both of its steps wait."""
    questions = 0
    async with aclosing(server.api.stream(handler_id)) as events:
        async for event in events:
            questions += event.type == "Ask"
            if questions == 2:
                return


async def answer(server: DurableServer, handler_id: Any) -> Found:
    if isinstance(handler_id, BaseException):
        raise handler_id
    await server.api.send(handler_id, "Go")
    places: Found = (await server.api.result(handler_id))["places"]
    return places


async def go_on(server: DurableServer, name: str, kind: Kind, handler_id: str) -> Found:
    body = {"start_event": {"v": start_of(kind)}, "handler_id": handler_id}
    handler = await server.api.wants("POST", f"/workflows/{name}/run", body)
    assert handler["status"] == "completed", handler
    places: Found = handler["result"]["value"]["result"]["places"]
    return places


@pytest.mark.parametrize("typed", TYPED, ids=["typed", "dictionary"])
@pytest.mark.parametrize("kind", KINDS, ids=[kind.key for kind in KINDS])
def test_a_value_comes_back_equal_and_of_its_type_in_every_place(kind: Kind, typed: bool, outcomes: Outcomes) -> None:
    outcome = outcomes[name_of(kind, typed=typed)]
    if isinstance(outcome, BaseException):
        raise outcome
    same_where_it_waited = dict.fromkeys(WAITING_PLACES)
    assert outcome.killed == same_where_it_waited
    assert outcome.released == same_where_it_waited
    assert outcome.continued == dict.fromkeys(CONTINUED_PLACES)


def test_there_are_at_least_sixty_kinds() -> None:
    assert len({kind.key for kind in KINDS}) >= 60
