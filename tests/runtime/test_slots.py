"""The slots of num_concurrent_runs."""

from __future__ import annotations

from workflow_server.execution.slots import Slots


def test_without_a_limit_every_run_gets_a_slot() -> None:
    slots = Slots(None)
    assert all(slots.take(str(n)) for n in range(100))
    assert slots.give_back("7") is None


def test_runs_get_slots_in_the_order_in_which_they_asked() -> None:
    slots = Slots(2)
    assert [slots.take(name) for name in "abcd"] == [True, True, False, False]
    assert slots.waits("c")
    assert slots.give_back("b") == "c"
    assert not slots.waits("c")
    assert slots.give_back("a") == "d"
    assert slots.give_back("c") is None


def test_asking_again_changes_nothing() -> None:
    slots = Slots(1)
    assert slots.take("a")
    assert slots.take("a")
    assert not slots.take("b")
    assert not slots.take("b")
    assert slots.give_back("a") == "b"
    assert slots.give_back("a") is None


def test_a_run_that_leaves_the_line_is_passed_over() -> None:
    slots = Slots(1)
    slots.take("a")
    slots.take("b")
    slots.take("c")
    assert slots.give_back("b") is None
    assert slots.give_back("a") == "c"
