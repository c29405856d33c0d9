"""States of runs, read alone: what is stored of ``ctx.store``, of bounded size."""

from __future__ import annotations

from tests.store.making import run_ended, run_started
from workflow_server.records import StatePatched, StateReplaced, StoredState
from workflow_server.store import AbstractWorkflowStore, HandlerQuery, PersistentHandler


async def test_a_state_is_its_record_and_the_patches_behind_it(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"))
    running = StoredState("flow", "a-1", "running", None, True, 0, None, [])
    assert await store.load_state("a", 100) == running
    await store.append(StatePatched("a-1", 0, "[0]"), StateReplaced("a-1", 0, '"ä"'), StatePatched("a-1", 1, "[1]"))
    await store.append(StatePatched("a-1", 2, "[2]"))
    whole = running._replace(size=10, record='"ä"', patches=["[1]", "[2]"])
    assert await store.load_state("a", 100) == whole
    await store.append(run_ended("a"))
    assert await store.load_state("a", 100) == whole._replace(status="completed", ended_at=2_000.0)
    await store.append(run_started("a", run="2"))
    assert await store.load_state("a", 100) == running._replace(run_id="a-2")


async def test_a_state_that_is_too_large_is_left_out(store: AbstractWorkflowStore) -> None:
    await store.append(run_started("a"), StateReplaced("a-1", -1, "12345"), StatePatched("a-1", 0, "67890"))
    for most in (4, 9):
        found = await store.load_state("a", most)
        assert found is not None
        assert (found.record, found.patches, found.size > most) == (None, [], True)
    found = await store.load_state("a", 10)
    assert found is not None
    assert (found.record, found.patches, found.size) == ("12345", ["67890"], 10)


async def test_a_handler_without_a_run_has_the_state_it_was_given(store: AbstractWorkflowStore) -> None:
    given = PersistentHandler(handler_id="a", workflow_name="flow", status="completed", ctx={"state": {"n": 1}})
    await store.update(given)
    found = await store.load_state("a", 100)
    assert found is not None
    assert (found.record, found.is_started) == ('{"n": 1}', False)
    await store.delete(HandlerQuery(handler_id_in=["a"]))
    assert await store.load_state("a", 100) is None
