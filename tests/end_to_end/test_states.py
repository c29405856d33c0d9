"""``ctx.store`` becomes durable with the step that wrote it, or not at all, also beside concurrent steps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.end_to_end.outcomes import Outcome, Plan, interrupt
from tests.end_to_end.targets.states import HELD, ITEMS
from tests.harness.server_process import DurableServer

PLANS = {
    "typed_state": Plan("typed_state", gates={"typed_state": ITEMS - HELD}, recorded={"work": HELD}),
    "dictionary_state": Plan("dictionary_state", gates={"dictionary_state": ITEMS - HELD}, recorded={"work": HELD}),
    "as_it_was": Plan("as_it_was", gates={"as_it_was": 1}, recorded={"first": 1}),
}
NAMES = [f"item-{number}" for number in range(ITEMS)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome | BaseException]:
    return asyncio.run(killed_and_restarted(tmp_path_factory.mktemp("states")))


async def killed_and_restarted(folder: Path) -> dict[str, Outcome | BaseException]:
    async with DurableServer(folder, "states.py") as server:
        return await interrupt(server, PLANS)


def outcome_of(name: str, outcomes: dict[str, Outcome | BaseException]) -> Outcome:
    outcome = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def test_a_typed_state_is_exact_after_steps_died_that_wrote(
    outcomes: dict[str, Outcome | BaseException],
) -> None:
    run = outcome_of("typed_state", outcomes)
    assert run.result == [ITEMS, NAMES, {"even": ITEMS // 2, "odd": ITEMS // 2}]
    assert run.begun_after == {("work", str(number)): 1 for number in range(HELD, ITEMS)}


def test_a_dictionary_state_is_exact_after_steps_died_that_wrote(
    outcomes: dict[str, Outcome | BaseException],
) -> None:
    run = outcome_of("dictionary_state", outcomes)
    assert run.result == [ITEMS, NAMES, 3]
    assert run.begun_after == {("work", str(number)): 1 for number in range(HELD, ITEMS)}


def test_a_step_that_runs_again_sees_the_state_as_it_first_was(
    outcomes: dict[str, Outcome | BaseException],
) -> None:
    run = outcome_of("as_it_was", outcomes)
    assert [entry.item for entry in run.entries if entry.kind == "saw"] == ["first", "first"]
    assert run.result == ["first", "second"]
