"""Everything answered with 200 survives a SIGKILL right after it: fifty runs and fifty events."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness.api import Json
from tests.harness.ledger import begun
from tests.harness.server_process import DurableServer

pytestmark = pytest.mark.slow(30)

MANY = 50
INBOXES = 10
SEED = 20_260_331


@dataclass
class Acknowledged:
    """The requests that a server acknowledged across its deaths, and its actions."""

    runs: list[Json] = field(default_factory=list)
    run_ends: list[Json] = field(default_factory=list)
    events: dict[str, list[int]] = field(default_factory=dict)
    """The numbers that were sent to each inbox."""
    taken: dict[str, list[int]] = field(default_factory=dict)
    """The numbers that each inbox took."""
    kills: int = 0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Acknowledged:
    return asyncio.run(through_kills(tmp_path_factory.mktemp("acknowledged")))


async def through_kills(folder: Path) -> Acknowledged:
    seen, chance = Acknowledged(), random.Random(SEED)
    async with DurableServer(folder, "flows.py") as server:
        api = server.api
        inboxes = [(await api.start("inbox"))["handler_id"] for _ in range(INBOXES)]
        seen.events = {inbox: [] for inbox in inboxes}
        sent = 0
        while sent < MANY or len(seen.runs) < MANY:
            for _ in range(chance.randint(1, 5)):
                # Whichever comes last is the one that is killed at once.
                if len(seen.runs) < MANY and (sent >= MANY or chance.random() < 0.5):
                    seen.runs.append(await api.start("three_steps", number=len(seen.runs)))
                elif sent < MANY:
                    inbox = chance.choice(inboxes)
                    await api.send(inbox, "Answer", number=sent)
                    seen.events[inbox].append(sent)
                    sent += 1
            await server.restart()
            seen.kills += 1
        seen.run_ends = [await api.finished(run["handler_id"]) for run in seen.runs]
        for inbox in inboxes:
            await api.send(inbox, "Close")
            seen.taken[inbox] = await api.result(inbox)
        steps = begun(server.ledger.entries())
    print(f"{seen.kills} kills; steps begun {sum(steps.values())} times for {len(steps)} steps")
    return seen


def test_no_acknowledged_run_is_lost(seen: Acknowledged) -> None:
    assert len(seen.runs) == len({run["run_id"] for run in seen.runs}) == MANY
    assert [end["status"] for end in seen.run_ends] == ["completed"] * MANY
    assert [end["result"]["value"]["result"] for end in seen.run_ends] == [
        [number, "one", "two", "three"] for number in range(MANY)
    ]


def test_an_acknowledged_run_keeps_its_run_id_and_started_at(seen: Acknowledged) -> None:
    for run, end in zip(seen.runs, seen.run_ends, strict=True):
        assert (end["run_id"], end["started_at"]) == (run["run_id"], run["started_at"])


def test_each_acknowledged_event_reaches_its_run_once_in_order(seen: Acknowledged) -> None:
    assert sum(len(numbers) for numbers in seen.events.values()) == MANY
    assert seen.taken == seen.events
