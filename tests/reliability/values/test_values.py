"""P12: whatever is nested in whatever comes back equal and of the same types, also when it was changed by patches."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.reliability.reporting import Extent, Survived
from tests.reliability.values.changing import PLANS, STATES, Change, carry_out
from tests.values.equality import differs
from tests.values.strategies import SHOWN_VALUES, Shown, kinds_in
from workflow_server.execution.codec import Codec

VALUES = (200, 20_000)
PLANNED = (60, 4_000)
_PHASES = [Phase.explicit, Phase.generate, Phase.shrink]


def chances(extent: Extent, times: tuple[int, int]) -> Callable[[Callable[..., None]], Callable[[], None]]:
    """The settings of hypothesis for one attack."""
    examples = extent.of(short=times[0], long=times[1])
    checks = settings(
        max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None, database=None, phases=_PHASES
    )
    return lambda attack: seed(extent.seed)(checks(attack))


def test_arbitrary_values_come_back_equal_and_of_equal_types(extent: Extent, survived: Survived) -> None:
    codec, kinds = Codec(), Counter[str]()

    @chances(extent, VALUES)
    @given(SHOWN_VALUES)
    def attack(shown: Shown) -> None:
        text = codec.dumps(shown.value)
        assert text.isascii()
        assert differs(shown.value, codec.loads(text)) is None
        assert differs(shown.value, Codec().loads(text)) is None
        kinds.update(kinds_in(shown.value))

    attack()
    survived(
        "arbitrary values of all kinds nested in each other, written as JSON and read back",
        "P12",
        times=extent.of(short=VALUES[0], long=VALUES[1]),
        unit="values",
        figures=f"of {len(kinds)} classes, {kinds.total():,} objects; equal, of equal types and shared alike",
    )


@pytest.mark.parametrize("state", STATES)
def test_a_state_changed_side_by_side_is_what_its_patches_make(state: str, extent: Extent, survived: Survived) -> None:
    made = Counter[str]()

    @chances(extent, PLANNED)
    @given(PLANS)
    def attack(plan: list[Change]) -> None:
        made.update(change.what for change in plan)
        outcome = asyncio.run(carry_out(plan, state))
        read = Codec().decode(json.loads(json.dumps(outcome.replayed)))
        assert differs(outcome.live, read) is None
        assert differs(outcome.live, outcome.durable) is None

    attack()
    survived(
        f"a {state} state, changed by three steps side by side, made anew of the patches that were stored",
        "P6 P12",
        times=extent.of(short=PLANNED[0], long=PLANNED[1]),
        unit="states",
        figures=f"{made.total():,} changes, {made['change']:,} of them inside of a value",
    )
