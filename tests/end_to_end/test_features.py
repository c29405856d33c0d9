"""Every feature that the engine offers to a workflow works on this server, and survives a SIGKILL in the middle."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from tests.end_to_end.outcomes import Outcome, Plan, interrupt
from tests.harness.api import StreamEvent
from tests.harness.server_process import DurableServer


async def answer(server: DurableServer, handler_id: str) -> None:
    await server.api.send(handler_id, "HumanResponseEvent", response="approved")


async def nudge(server: DurableServer, handler_id: str) -> None:
    await server.api.send(handler_id, "Nudge", step="nudged", text="on")


PLANS = {
    "fan_out": Plan("fan_out", gates={"fan_out": 1}, recorded={"split": 1, "work": 4}),
    "take": Plan("first_two", gates={"take_1": 1, "take_2": 1}, recorded={"split": 1, "work": 1}),
    "collect_events": Plan(
        "collect_events", gates={"collect_events": 1}, recorded={"split": 1, "work": 2, "gather": 2}
    ),
    "fan_in": Plan("fan_in", gates={"fan_in": 1}, recorded={"split": 1, "left": 1}),
    "catch_error": Plan("caught", gates={"catch_error": 1}),
    "review": Plan("review", published=("Approval",), recorded={"ask": 1}, after=answer),
    "one_step": Plan("one_step", gates={"one_step": 1}, recorded={"begin": 1}, after=nudge),
    "nested": Plan("nested", gates={"nested": 1}, recorded={"prepare": 1}),
    "resources": Plan("resources", gates={"resources": 1}, recorded={"first": 1}),
    "own_events": Plan("own_events", {"product": "book", "amount": 3}, gates={"own_events": 1}),
    "long_run": Plan("long_run", gates={"long_run": 1}, recorded={"begin": 1, "count": 360}),
    "keys": Plan("keys", gates={"keys": 1}, recorded={"split": 1, "work": 1}),
    "holder": Plan("one_slot", {"number": 1}, gates={"slot": 1}),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome | BaseException]:
    return asyncio.run(killed_and_restarted(tmp_path_factory.mktemp("features")))


async def killed_and_restarted(folder: Path) -> dict[str, Outcome | BaseException]:
    async with DurableServer(folder, "features.py") as server:
        return await interrupt(server, PLANS)


class Outcomes:
    """The outcomes by name; a run that went wrong fails the tests that look at it."""

    def __init__(self, found: dict[str, Outcome | BaseException]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Outcome:
        outcome = self._found[name]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


@pytest.fixture
def runs(outcomes: dict[str, Outcome | BaseException]) -> Outcomes:
    return Outcomes(outcomes)


# -- What holds for every feature --------------------------------------------------------------

every_feature = pytest.mark.parametrize("name", PLANS)


@every_feature
def test_the_run_goes_on_under_its_run_id_and_started_at(name: str, runs: Outcomes) -> None:
    begun, ended = runs[name].begun, runs[name].ended
    assert (ended["run_id"], ended["started_at"]) == (begun["run_id"], begun["started_at"])
    assert ended["status"] == "completed"


@every_feature
def test_a_step_whose_result_was_recorded_never_begins_again(name: str, runs: Outcomes) -> None:
    run = runs[name]
    assert not run.recorded & set(run.begun_after)


@every_feature
def test_an_interrupted_step_begins_again_once(name: str, runs: Outcomes) -> None:
    run = runs[name]
    assert set(run.begun_before.values()) <= {1}
    assert set(run.begun_after.values()) <= {1}
    assert {key for key in run.interrupted if key[0] != "fail"} <= set(run.begun_after)


@every_feature
def test_the_stream_is_whole_across_the_kill_up_to_its_end(name: str, runs: Outcomes) -> None:
    events = runs[name].events
    assert [event.sequence for event in events] == list(range(len(events)))
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]


@every_feature
def test_a_late_reader_is_sent_what_came_before_and_after_the_kill(name: str, runs: Outcomes) -> None:
    assert runs[name].read_again == runs[name].events


# -- Feature by feature ------------------------------------------------------------------------


def test_a_fan_out_runs_only_the_interrupted_item_again(runs: Outcomes) -> None:
    run = runs["fan_out"]
    assert run.result == [0, 1, 2, 3, 4]
    assert run.begun_after == {("work", "3"): 1, ("join", "-"): 1}


def test_a_fan_out_never_has_more_workers_than_num_workers(runs: Outcomes) -> None:
    marks = [entry.kind for entry in runs["fan_out"].entries if entry.step == "work" or entry.kind == "killed"]
    at_work = 0
    for kind in marks:
        at_work = 0 if kind == "killed" else at_work + {"begin": 1, "end": -1}[kind]
        assert at_work <= 2


def test_take_collects_what_came_before_and_after_the_kill(runs: Outcomes) -> None:
    result = runs["take"].result
    assert isinstance(result, list)
    assert result[0] == 0
    assert len(result) == 2


def test_collected_events_are_kept_and_collected_once(runs: Outcomes) -> None:
    run = runs["collect_events"]
    assert isinstance(run.result, list)
    assert sorted(run.result) == [0, 1, 2]
    assert run.begun_after == {("work", "2"): 1, ("gather", "2"): 1}


def test_a_fan_in_keeps_the_side_that_was_done(runs: Outcomes) -> None:
    run = runs["fan_in"]
    assert run.result == ["left", "right"]
    assert run.begun_after == {("right", "-"): 1, ("join", "-"): 1}


def test_a_caught_failure_is_handled_again_without_another_try(
    runs: Outcomes,
) -> None:
    run = runs["catch_error"]
    assert run.result == ["fail", 2, "the gateway is down", "StartEvent"]
    assert run.begun_before == {("fail", "0"): 1, ("fail", "1"): 1, ("recover", "-"): 1}
    assert run.begun_after == {("recover", "-"): 1}


def test_a_returned_question_is_asked_once_and_answered_later(runs: Outcomes) -> None:
    run = runs["review"]
    assert run.result == "approved"
    assert [event.type for event in run.events].count("Approval") == 1


def test_an_event_for_one_step_reaches_no_other(runs: Outcomes) -> None:
    run = runs["one_step"]
    assert run.result == "on"
    assert {step for step, _ in run.begun_before + run.begun_after} == {"begin", "meant", "nudged"}


def test_a_nested_run_is_part_of_its_step_and_runs_again_with_it(runs: Outcomes) -> None:
    run = runs["nested"]
    assert run.result == 42
    assert run.begun_after == {("outer", "-"): 1, ("think", "-"): 1}


def test_resources_are_made_again_by_the_new_process(runs: Outcomes) -> None:
    run = runs["resources"]
    assert run.result == [1, True]
    assert [entry.kind for entry in run.entries if entry.kind in ("connect", "killed")] == [
        "connect",
        "killed",
        "connect",
    ]


def test_own_start_and_stop_events_keep_their_fields(runs: Outcomes) -> None:
    result = runs["own_events"].ended["result"]
    assert result["type"] == "Shipped"
    assert result["types"] == ["StopEvent"]
    assert result["value"] == {"product": "book", "parcels": [0, 1, 2]}


def test_a_run_of_many_snapshots_goes_on_in_the_middle(runs: Outcomes) -> None:
    run = runs["long_run"]
    assert run.result == 380
    assert run.begun_after == {("count", str(number)): 1 for number in range(360, 381)}


def test_the_idempotency_key_of_a_repeated_step_is_the_same(runs: Outcomes) -> None:
    run = runs["keys"]
    keys: dict[str, list[str]] = {}
    for entry in run.entries:
        if entry.kind == "key":
            keys.setdefault(entry.item, []).append(entry.step)
    assert {item: len(found) for item, found in keys.items()} == {"split": 1, "work/0": 1, "work/1": 2, "join": 1}
    assert keys["work/1"][0] == keys["work/1"][1]
    assert len({key for found in keys.values() for key in found}) == 4
    assert all(run.begun["run_id"] in key for found in keys.values() for key in found)


def test_internal_events_tell_of_each_step_and_are_marked(runs: Outcomes) -> None:
    def states(events: list[StreamEvent]) -> list[tuple[str, str]]:
        return [
            (event.value["name"], event.value["step_state"]) for event in events if event.type == "StepStateChanged"
        ]

    found = states(runs["fan_out"].events)
    assert found.count(("work", "not_running")) == 5
    assert found.count(("join", "not_running")) == 1


# -- More than one run -------------------------------------------------------------------------


async def test_queued_runs_run_after_the_kill_in_order_one_at_a_time(
    tmp_path: Path,
) -> None:
    async with DurableServer(tmp_path, "features.py") as server:
        handlers = [await server.api.start("one_slot", number=number) for number in range(4)]
        await server.ledger.reached("slot")
        shown = [(await server.api.handler(handler["handler_id"]))["suspended"] for handler in handlers]
        assert shown[0] is None
        assert all("num_concurrent_runs" in reason for reason in shown[1:])

        await server.restart()
        server.ledger.open("slot")

        assert [await server.api.result(handler["handler_id"]) for handler in handlers] == [0, 1, 2, 3]
        marks = [(entry.kind, entry.item) for entry in server.ledger.entries() if entry.step == "hold"]
        in_order = [[("begin", str(number)), ("end", str(number))] for number in range(4)]
        assert marks == [("begin", "0"), *itertools.chain.from_iterable(in_order)]


async def test_internal_events_are_shown_only_to_those_who_ask(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "features.py") as server:
        server.ledger.open("fan_out")
        handler_id = (await server.api.start("fan_out"))["handler_id"]
        await server.api.finished(handler_id)

        asked = await server.api.events(handler_id, internal=True)
        unasked = await server.api.events(handler_id)

    assert {event.type for event in unasked} == {"Item", "StopEvent"}
    assert {event.type for event in asked} == {"Item", "StopEvent", "StepStateChanged"}
    assert [event for event in asked if event.type in ("Item", "StopEvent")] == unasked
