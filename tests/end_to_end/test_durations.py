"""Time is durable: waits, retry delays and timeouts keep their meaning through a SIGKILL.

Times are compared with waits of known length that begin after the restart: a duration that started over would end after
them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.api import Json, Reader, StreamEvent
from tests.harness.ledger import Entry, after_kill
from tests.harness.server_process import DurableServer

pytestmark = pytest.mark.slow(25)

ALIVE = 6.0
"""Seconds that the run with a timeout is alive before the kill: the server notes every 5 s that it is."""
OVERDUE = 4.5
WITHIN = 7.0
"""The waits that end while the server is dead, and after it lives again."""
YARDSTICKS = (4.0, 5.0, 9.5)
"""The waits that begin after the restart."""


@dataclass(frozen=True)
class Lived:
    """The observations of one run."""

    entries: list[Entry]
    order: list[str]
    """The names of the runs in the order in which they ended after the restart."""
    ended: dict[str, Json]
    events: dict[str, list[StreamEvent]]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return asyncio.run(lived_through(tmp_path_factory.mktemp("durations")))


async def lived_through(folder: Path) -> Lived:
    async with DurableServer(folder, "durations.py") as server:
        api, ids, readers = server.api, dict[str, str](), dict[str, Reader]()

        async def start(name: str, workflow: str, **fields: object) -> None:
            ids[name] = (await api.start(workflow, **fields))["handler_id"]
            readers[name] = Reader(api, ids[name])

        await start("timeout", "alive_for_twelve_seconds")
        await start("asked", "waits", number=7)
        await server.ledger.reached("never")
        await asyncio.sleep(ALIVE)
        await start("retry", "retries")
        await start("within", "waits", number=1, seconds=WITHIN)
        await start("overdue", "waits", number=2, seconds=OVERDUE)
        begun = time.monotonic()
        for name in ("asked", "within", "overdue"):
            await readers[name].until("Question")
        await readers["retry"].until("StepStateChanged", step_state="not_running")
        await server.kill()
        await asyncio.sleep(max(0.0, begun + OVERDUE - time.monotonic()))
        await server.start()

        for seconds in YARDSTICKS:
            await start(f"after {seconds}", "waits", number=9, seconds=seconds)
        await api.send(ids["asked"], "Answer", number=8, text="wrong")
        await api.send(ids["asked"], "Answer", number=7, text="right")

        order: list[str] = []

        async def follow(name: str) -> None:
            await readers[name].finished()
            order.append(name)

        await asyncio.gather(*(follow(name) for name in ids))
        ended = {name: await api.handler(handler_id) for name, handler_id in ids.items()}
        events = {name: reader.events for name, reader in readers.items()}
        return Lived(server.ledger.entries(), order, ended, events)


def result(handler: Json) -> object:
    assert handler["status"] == "completed", handler
    return handler["result"]["value"]["result"]


def test_a_wait_keeps_its_requirements_over_a_restart(lived: Lived) -> None:
    assert result(lived.ended["asked"]) == "right"


def test_a_wait_publishes_its_question_once(lived: Lived) -> None:
    assert [event.type for event in lived.events["asked"]].count("Question") == 1


def test_a_wait_overdue_at_the_restart_times_out_then(lived: Lived) -> None:
    assert result(lived.ended["overdue"]) == "timed out"
    assert ("timed-out", "2") in [(entry.kind, entry.item) for entry in after_kill(lived.entries)]
    assert lived.order.index("overdue") < lived.order.index("after 4.0")


def test_a_wait_times_out_when_it_would_have_without_the_kill(lived: Lived) -> None:
    assert result(lived.ended["within"]) == "timed out"
    assert ("timed-out", "1") in [(entry.kind, entry.item) for entry in after_kill(lived.entries)]
    assert lived.order.index("within") < lived.order.index("after 5.0")


def test_a_retry_keeps_its_delay_attempts_and_failure(lived: Lived) -> None:
    assert result(lived.ended["retry"]) == [1, "failure 0", True]
    begins = Counter(entry.item for entry in lived.entries if entry.kind == "begin" and entry.step == "flaky")
    assert begins == {"0": 1, "1": 1}
    assert lived.order.index("retry") < lived.order.index("after 5.0")


def test_a_workflows_timeout_counts_the_time_alive_only(lived: Lived) -> None:
    handler, last = lived.ended["timeout"], lived.events["timeout"][-1]
    assert handler["status"] == "failed"
    assert "timed out after 12.0 seconds" in handler["error"]
    assert last.type == "WorkflowTimedOutEvent"
    assert last.value["active_steps"] == ["sit"]
    assert lived.order.index("after 4.0") < lived.order.index("timeout") < lived.order.index("after 9.5")


def test_streams_of_runs_that_waited_have_no_gap_or_repetition(lived: Lived) -> None:
    for events in lived.events.values():
        assert [event.sequence for event in events] == list(range(len(events)))
        assert events[-1].terminal
