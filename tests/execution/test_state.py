"""The recording state store."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from workflows.events import StartEvent
from workflows.runtime.types.results import (
    Returns,
    StepWorkerContext,
    StepWorkerState,
    StepWorkerStateContextVar,
)

from tests.values import classes
from tests.values.equality import differs
from workflow_server.errors import Unstorable
from workflow_server.execution import state as state_module
from workflow_server.execution.codec import Codec
from workflow_server.execution.codec.comparing import same
from workflow_server.execution.engine import DictState, InMemoryStateStore
from workflow_server.execution.patches import Patch, apply, counted_as, diff
from workflow_server.execution.state import RecordingStateStore, decode_state, encode_state


class Note(BaseModel):
    text: str


class Typed(BaseModel):
    count: int = 0
    names: list[str] = []


class Recording:
    def __init__(self, state: BaseModel) -> None:
        self.codec = Codec()
        self.unattended: list[Patch] = []
        tree = encode_state(state, self.codec)
        self.store: RecordingStateStore[Any] = RecordingStateStore(
            state, self.codec, durable=tree, unattended=self.unattended.append
        )

    def durable(self) -> Any:
        return decode_state(self.store.durable, self.codec)


@contextmanager
def step(invocation_id: str) -> Iterator[StepWorkerContext]:
    state = StepWorkerState("s", {}, [], invocation_id=invocation_id)
    context = StepWorkerContext(event=StartEvent(), state=state, returns=Returns([]))
    token = StepWorkerStateContextVar.set(context)
    try:
        yield context
    finally:
        StepWorkerStateContextVar.reset(token)


async def test_what_a_step_writes_enters_the_durable_state_with_its_result() -> None:
    recording = Recording(DictState())
    with step("i1"):
        await recording.store.set("a", 1)
    assert await recording.store.get("a") == 1
    assert "a" not in recording.durable()
    patch = recording.store.take("i1")
    assert patch
    assert recording.durable()["a"] == 1
    assert recording.store.take("i1") is None


async def test_concurrent_steps_are_kept_apart() -> None:
    recording = Recording(DictState())
    with step("i1"):
        await recording.store.set("mine", 1)
        async with recording.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
    with step("i2"):
        async with recording.store.edit_state() as state:
            state["count"] = state.get("count", 0) + 1
    recording.store.take("i2")
    assert recording.durable()["count"] == 1, "the first step has not finished: it counts when it is run again"
    assert "mine" not in recording.durable()
    recording.store.take("i1")
    assert recording.durable()["count"] == 2


async def test_a_number_set_outside_a_transaction_is_not_counted_on() -> None:
    recording = Recording(Typed())
    for name, number in (("unfinished", 5), ("other", 7)):
        with step(name):
            await recording.store.set("count", number)
    recording.store.take("other")
    assert recording.durable().count == 7


async def test_a_list_that_is_fetched_appended_to_and_set_is_recorded() -> None:
    recording = Recording(DictState(items=[1]))
    with step("i1"):
        items = await recording.store.get("items")
        items.append(2)
        await recording.store.set("items", items)
    recording.store.take("i1")
    assert recording.durable()["items"] == [1, 2]


async def test_a_state_that_is_fetched_changed_and_set_is_recorded() -> None:
    recording = Recording(Typed())
    with step("i1"):
        state = await recording.store.get_state()
        state.names.append("ada")
        await recording.store.set_state(state)
    recording.store.take("i1")
    assert recording.durable() == Typed(names=["ada"])


async def test_nested_paths_models_and_clear_are_recorded() -> None:
    recording = Recording(DictState())
    with step("i1"):
        await recording.store.set("user.name", "Ada")
        await recording.store.set("note", Note(text="x"))
    recording.store.take("i1")
    assert recording.durable()["user"] == {"name": "Ada"}
    assert recording.durable()["note"] == Note(text="x")
    with step("i2"):
        await recording.store.clear()
    recording.store.take("i2")
    assert dict(recording.durable().items()) == {}


async def test_patches_replayed_on_the_old_state_give_the_new_one() -> None:
    recording = Recording(Typed())
    before = recording.store.durable
    patches: list[Patch] = []
    for n in range(5):
        with step(f"i{n}"):
            async with recording.store.edit_state() as state:
                state.count += n
                state.names = [*state.names, str(n)]
        patches.append(recording.store.take(f"i{n}") or [])
    for patch in patches:
        before = apply(before, patch)
    assert decode_state(before, recording.codec) == Typed(count=10, names=["0", "1", "2", "3", "4"])


async def test_a_write_after_the_step_has_returned_is_durable_by_itself() -> None:
    recording = Recording(DictState())
    with step("i1") as context:
        context.sends.closed = True
        await recording.store.set("late", 1)
    assert recording.durable()["late"] == 1
    assert len(recording.unattended) == 1


async def test_what_cannot_be_kept_is_refused_by_name_and_changes_nothing() -> None:
    recording = Recording(DictState())
    with (
        step("i1"),
        pytest.raises(Unstorable, match=r"ctx.store\['handle'\] cannot be stored: it is of type _thread.lock"),
    ):
        await recording.store.set("handle", threading.Lock())
    assert await recording.store.get("handle", None) is None
    assert recording.store.take("i1") is None


async def test_a_dictionary_like_a_type_marker_stays_a_dictionary() -> None:
    hostile = {"__is_pydantic": True, "value": {}, "qualified_name": "os.system"}
    recording = Recording(DictState())
    with step("i1"):
        await recording.store.set("from_client", hostile)
        await recording.store.set("nested", [{"deep": {"__is_component": 1, "qualified_name": "os.system"}}])
    recording.store.take("i1")
    assert recording.durable()["from_client"] == hostile
    assert recording.durable()["nested"] == [{"deep": {"__is_component": 1, "qualified_name": "os.system"}}]


async def test_writes_are_folded_in_the_order_in_which_they_were_made() -> None:
    recording = Recording(DictState())
    with step("first"):
        await recording.store.set("x", "a")
        await recording.store.set("users.ada", 1)
    with step("second"):
        await recording.store.set("x", "b")
        await recording.store.set("users.bob", 2)
    recording.store.take("second")
    assert dict(recording.durable().items()) == {"x": "b", "users": {"bob": 2}}
    recording.store.take("first")
    assert dict(recording.durable().items()) == {"x": "b", "users": {"ada": 1, "bob": 2}}


operations = st.lists(
    st.tuples(
        st.sampled_from(["i0", "i1", "i2"]),
        st.sampled_from(["set", "nested", "append", "grow", "grow all", "count", "drop", "fail", "finish"]),
        st.integers(0, 2),
    ),
    max_size=25,
)


@given(operations)
async def test_once_all_steps_finished_the_durable_state_is_the_live_one(plan: list[tuple[str, str, int]]) -> None:
    recording = Recording(DictState())
    replayed = recording.store.durable
    for invocation_id, what, n in [*plan, ("i0", "finish", 0), ("i1", "finish", 0), ("i2", "finish", 0)]:
        if what in ("finish", "fail"):
            replayed = apply(replayed, recording.store.take(invocation_id, begins_again=what == "fail") or [])
            continue
        with step(invocation_id):
            await write(recording.store, what, n)
    assert same(recording.store.durable, encode_state(await recording.store.get_state(), recording.codec))
    assert same(replayed, recording.store.durable), "the patches are what is stored"


async def write(store: RecordingStateStore[Any], what: str, n: int) -> None:
    if what == "set":
        await store.set(f"k{n}", n)
    elif what == "nested":
        await store.set(f"tree.a{n}.b", n)
    elif what == "append":
        items = await store.get("items", [])
        items.append(n)
        await store.set("items", items)
    elif what == "grow":
        (await store.get("items", [])).append(n)
    elif what == "grow all":
        (await store.get_state()).get("items", []).append(n)
    else:
        async with store.edit_state() as state:
            if what == "count":
                state[f"c{n}"] = state.get(f"c{n}", 0) + 1
            else:
                state["items"] = state.get("items", [])[:-1]


async def test_a_memory_that_cannot_be_kept_is_refused_by_name() -> None:
    recording = Recording(DictState())
    with step("i1"):
        await recording.store.set("memory", {"a": 1})
        with pytest.raises(Unstorable, match=r"ctx\.store\['memory'\].*_thread\.lock.*register_type"):
            await recording.store.set("memory", threading.Lock())
    recording.store.take("i1")
    assert recording.durable()["memory"] == {"a": 1}


async def test_changes_in_place_of_what_was_fetched_are_recorded() -> None:
    recording = Recording(DictState(items=[1], user={"names": ["Ada"]}))
    with step("i1"):
        (await recording.store.get("items")).append(2)
        (await recording.store.get("user.names")).append("Grace")
    assert recording.durable() == DictState(items=[1], user={"names": ["Ada"]}), "the step has not finished"
    patch = recording.store.take("i1")
    assert [operation["op"] for operation in patch or ()] == ["extend", "extend"]
    assert recording.durable() == DictState(items=[1, 2], user={"names": ["Ada", "Grace"]})


async def test_changes_in_place_after_a_set_are_recorded() -> None:
    recording = Recording(DictState())
    with step("i1"):
        items = [1]
        await recording.store.set("items", items)
        items.append(2)
    recording.store.take("i1")
    assert recording.durable()["items"] == [1, 2]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (DictState(names=["Ada"]), DictState(names=["Ada", "Grace"])),
        (Typed(names=["Ada"]), Typed(names=["Ada", "Grace"])),
    ],
)
async def test_what_a_step_changes_in_place_of_the_whole_state_is_recorded(
    state: DictState | Typed, expected: BaseModel
) -> None:
    recording = Recording(state)
    with step("i1"):
        (await recording.store.get_state()).names.append("Grace")
    recording.store.take("i1")
    assert recording.durable() == expected


@pytest.mark.parametrize("how", ["edited", "given"])
async def test_changes_in_place_after_an_edit_are_recorded(how: str) -> None:
    recording = Recording(DictState(memory=["a"]))
    with step("i1"):
        if how == "edited":
            async with recording.store.edit_state() as state:
                memory = state["memory"]
        else:
            memory = ["a", "b"]
            await recording.store.set_state(DictState(memory=memory))
        memory.append("c")
    recording.store.take("i1")
    live = await recording.store.get("memory")
    assert live[-1] == "c", "as the engine has it"
    assert recording.durable()["memory"] == live


async def hold_a_part(store: RecordingStateStore[Any]) -> Any:
    return await store.get("shared")


async def hold_all(store: RecordingStateStore[Any]) -> Any:
    return (await store.get_state()).shared


class Lists(BaseModel):
    shared: list[int] = [1]
    own: list[int] = [1]


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("hold", [hold_a_part, hold_all])
@pytest.mark.parametrize("failed_holds", [hold_a_part, hold_all])
async def test_a_failed_attempt_leaves_changes_to_those_who_hold_it(
    hold: Callable[[Any], Any], failed_holds: Callable[[Any], Any], *, is_plain: bool
) -> None:
    recording = Recording(DictState(shared=[1], own=[1]) if is_plain else Lists())
    with step("fails"):
        await failed_holds(recording.store)
        await recording.store.set("own", [1, 2])
        # Its digest is not to hide the change from the step that made it.
        await recording.store.get("shared")
    with step("other"):
        (await hold(recording.store)).append(2)
    assert recording.store.take("fails", begins_again=True)
    assert (recording.durable().shared, recording.durable().own) == ([1], [1, 2])
    assert recording.store.take("other")
    assert recording.durable().shared == [1, 2]


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_failed_attempt_records_what_no_other_step_holds(*, is_plain: bool) -> None:
    recording = Recording(DictState(shared=[1], own=[1]) if is_plain else Lists())
    with step("other"):
        await recording.store.get("shared")
        async with recording.store.edit_state() as state:
            state.own = [1, 2]
    with step("fails"):
        (await recording.store.get("own")).append(3)
        (await recording.store.get("shared")).append(2)
    assert recording.store.take("fails", begins_again=True)
    assert (recording.durable().shared, recording.durable().own[-1]) == ([1], 3)
    recording.store.take("other")
    assert encode_state(await recording.store.get_state(), recording.codec) == recording.store.durable


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("hold", [hold_a_part, hold_all])
async def test_a_transaction_leaves_changes_in_place_to_their_step(
    hold: Callable[[Any], Any], *, is_plain: bool
) -> None:
    recording = Recording(DictState(shared=[1], own=[1]) if is_plain else Lists())
    with step("holds"):
        (await hold(recording.store)).append(2)
    for number in (2, 3):
        with step("edits"):
            async with recording.store.edit_state() as state:
                state.own = [*state.own, number]
    assert recording.store.take("edits")
    assert (recording.durable().shared, recording.durable().own) == ([1], [1, 2, 3])
    assert recording.store.take("holds")
    assert recording.durable() == await recording.store.get_state()
    assert recording.durable().shared == [1, 2]


async def test_a_transaction_records_what_its_own_step_had_changed() -> None:
    recording = Recording(DictState(shared=[1], own=[1]))
    with step("other"):
        await recording.store.get_state()
    with step("edits"):
        (await recording.store.get("shared")).append(2)
        async with recording.store.edit_state() as state:
            state["own"] = [2]
    assert recording.store.take("edits")
    assert recording.durable() == DictState(shared=[1, 2], own=[2])


async def test_a_step_that_only_reads_records_nothing() -> None:
    recording = Recording(DictState(items=[1], count=1))
    with step("i1"):
        await recording.store.get("items")
        await recording.store.get("count")
        await recording.store.get_state()
        await recording.store.get("nothing", default=[])
    assert recording.store.take("i1") is None


async def test_plain_data_that_is_read_again_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording(DictState(items=[{"n": n} for n in range(1_000)]))
    encode, encoded = recording.codec.encode, list[str]()

    def noting(value: Any, what: str = "The value") -> Any:
        encoded.append(what)
        return encode(value, what)

    monkeypatch.setattr(recording.codec, "encode", noting)
    for number in range(3):
        with step(f"i{number}"):
            await recording.store.get("items")
        assert recording.store.take(f"i{number}") is None
    assert encoded == ["ctx.store['items']"]


async def test_a_change_back_to_what_was_before_a_write_is_recorded() -> None:
    recording = Recording(DictState(items=[1]))
    with step("reads"):
        await recording.store.get("items")
    recording.store.take("reads")
    with step("writes"):
        items = [1, 2]
        await recording.store.set("items", items)
        items.pop()
    recording.store.take("writes")
    assert recording.durable()["items"] == [1]


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ([1], lambda items: items.__setitem__(0, True)),
        ([1], lambda items: items.__setitem__(0, 1.0)),
        ([{"a": 1, "b": 2}], lambda items: items[0].update(a=items[0].pop("a"))),
        ([Note(text="a")], lambda items: setattr(items[0], "text", "b")),
        ([bytearray(b"a")], lambda items: items.__setitem__(0, b"a")),
        ([classes.MyByteArray(b"a")], lambda items: setattr(items[0], "note", "b")),
    ],
)
async def test_a_change_that_python_takes_for_equal_is_recorded(before: list[Any], change: Any) -> None:
    recording = Recording(DictState(items=before))
    for number in range(2):
        with step(f"reads {number}"):
            await recording.store.get("items")
        recording.store.take(f"reads {number}")
    with step("changes"):
        change(await recording.store.get("items"))
    assert recording.store.take("changes")
    assert differs(before, recording.durable()["items"]) is None


async def test_changes_in_place_that_cannot_be_kept_are_refused() -> None:
    recording = Recording(DictState(items=[1]))
    with step("i1"):
        (await recording.store.get("items")).append(threading.Lock())
    with pytest.raises(Unstorable, match=r"ctx\.store\['items'\]\[1\].*_thread\.lock"):
        recording.store.take("i1")


async def test_a_value_changed_by_a_thread_is_kept_as_it_is_found() -> None:
    recording = Recording(DictState(cache={number: [number] for number in range(20_000)}))
    done = threading.Event()

    def fill(cache: dict[int, Any]) -> None:
        number = 1_000_000
        while not done.wait(0.0002):
            cache[number] = [number]
            number += 1

    with step("fills"):
        filling = threading.Thread(target=fill, args=(await recording.store.get("cache"),))
        filling.start()
    try:
        with step("reads"):
            await recording.store.get("cache")
        recording.store.take("reads")
    finally:
        done.set()
        filling.join()
    recording.store.take("fills")
    assert recording.durable() == await recording.store.get_state()


async def test_a_step_that_runs_again_sees_no_earlier_changes_in_place() -> None:
    recording = Recording(DictState(items=[1]))
    with step("interrupted"):
        (await recording.store.get("items")).append(2)
    with step("beside"):
        await recording.store.set("other", 1)
    recording.store.take("beside")
    assert recording.durable() == DictState(items=[1], other=1)


async def test_the_writes_beside_an_unfinished_step_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_module, "LISTED_WRITES", 20)
    recording = Recording(DictState())
    with step("slow"):
        await recording.store.set("slow", 1)
    for n in range(100):
        with step(f"i{n}"):
            await recording.store.set("last", n)
        recording.store.take(f"i{n}")
        assert len(recording.store._written) <= 22
    recording.store.take("slow")
    assert dict(recording.durable().items()) == {"last": 99, "slow": 1}


ADDED: list[tuple[Any, Any]] = [
    ([1], lambda value, n: [*value, n]),
    ((1,), lambda value, n: (*value, n)),
    ({1}, lambda value, n: value | {n}),
    (frozenset({1}), lambda value, n: value | {n}),
    (deque([1]), lambda value, n: deque([*value, n])),
    ({1: 1}, lambda value, n: {**value, n: n}),
    (classes.MyList([1]), lambda value, n: classes.MyList([*value, n])),
    (classes.MySet([1]), lambda value, n: classes.MySet([*value, n])),
    (classes.MyDict({1: 1}), lambda value, n: classes.MyDict({**value, n: n})),
    (Counter("a"), lambda value, n: value + Counter({n: 1})),
    (classes.AttrsSlots(1, [1]), lambda value, n: classes.AttrsSlots(1, [*value.b, n])),
    (classes.FrozenSlotted(1, (1,)), lambda value, n: classes.FrozenSlotted(1, (*value.b, n))),
    (Typed(names=["1"]), lambda value, n: Typed(names=[*value.names, str(n)])),
]


@pytest.mark.parametrize(("value", "add"), ADDED, ids=lambda item: type(item).__name__)
async def test_what_an_unfinished_step_added_is_not_kept(value: Any, add: Callable[[Any, int], Any]) -> None:
    recording = Recording(DictState(v=value))
    for name, number in (("unfinished", 2), ("other", 3)):
        with step(name):
            async with recording.store.edit_state() as state:
                state["v"] = add(state["v"], number)
    recording.store.take("other")
    assert differs(recording.durable()["v"], add(value, 3)) is None
    recording.store.take("unfinished")
    assert differs(recording.durable()["v"], add(add(value, 2), 3)) is None


async def test_changes_of_an_object_of_an_unfinished_step_count_once() -> None:
    recording = Recording(DictState())
    with step("unfinished"):
        await recording.store.set("v", Typed(count=1, names=["a"]))
    with step("other"):
        async with recording.store.edit_state() as state:
            state["v"].count += 1
            state["v"].names.append("b")
    recording.store.take("other")
    assert recording.durable()["v"] == Typed(count=2, names=["a", "b"])
    recording.store.take("unfinished")
    assert recording.durable()["v"] == Typed(count=2, names=["a", "b"])


@pytest.mark.parametrize(
    "held",
    [Note(text="a"), (1, 2), {1}, OrderedDict(a=1), ValueError("x"), {1: 2}],
    ids=lambda held: type(held).__name__,
)
async def test_keys_added_to_a_dictionary_never_alter_what_was_there(held: Any) -> None:
    recording = Recording(DictState(v=held))
    with step("unfinished"):
        await recording.store.set("v", {})
    with step("other"):
        # As a client may name them.
        for name, value in {"c": "wsgiref.simple_server:WSGIServer", "v": {"a": 1}, "b": "x"}.items():
            async with recording.store.edit_state() as state:
                state["v"][name] = value
    recording.store.take("other")
    kept = recording.durable()["v"]
    assert type(kept) in (dict, type(held))
    assert kept == {"c": "wsgiref.simple_server:WSGIServer", "v": {"a": 1}, "b": "x"}


KEYS = st.sampled_from(["a", "b", "c.d", "c.e", "_x", "items", "c", "$"])
WRITTEN = st.integers(-2, 2) | st.sampled_from([0.0, -0.0, "text", None, 300]) | st.lists(st.integers(), max_size=3)
WRITES = st.lists(st.tuples(st.sampled_from(["one", "two"]), st.sampled_from(["set", "edit", "take"]), KEYS, WRITTEN))


@given(WRITES)
async def test_a_patch_is_its_difference_to_the_durable_state(
    writes: list[tuple[str, str, str, Any]],
) -> None:
    recording, engine = Recording(DictState(items=[1])), InMemoryStateStore(DictState(items=[1]))
    for name, how, path, value in [*writes, ("one", "take", "a", 0), ("two", "take", "a", 0)]:
        before = recording.store.durable
        if how == "take":
            patch = recording.store.take(name)
            # Of counted numbers it tells what they were, for those who leave another patch out.
            assert diff(before, recording.store.durable) == counted_as(patch or [], [])
            assert same(apply(before, patch or []), recording.store.durable)
            continue
        with step(name):
            for store in (recording.store, engine):
                await written_to(store, how, path, value)
        assert recording.store.durable is before
    live = await recording.store.get_state()
    assert differs(await engine.get_state(), live) is None
    assert same(encode_state(live, recording.codec), recording.store.durable)


async def written_to(store: Any, how: str, path: str, value: Any) -> None:
    """Write to a store, or fail as the engine's does."""
    with suppress(TypeError, AttributeError):
        if how == "set":
            await store.set(path, value)
        else:
            async with store.edit_state() as state:
                state[path] = value


async def test_a_value_is_set_in_a_copy_of_the_state_as_the_engine_does() -> None:
    recording = Recording(DictState(a=1))
    held = await recording.store.get_state()
    await recording.store.set("a", 2)
    await recording.store.set("b", 3)
    assert dict(held.items()) == {"a": 1}
    assert (await recording.store.get("a"), await recording.store.get("b")) == (2, 3)
    assert await recording.store.get("none", default=4) == 4
    with pytest.raises(ValueError, match="not found"):
        await recording.store.get("none")
    with pytest.raises(ValueError, match="empty"):
        await recording.store.set("", 1)


async def test_a_value_is_set_when_the_writer_before_has_finished() -> None:
    recording = Recording(DictState(a=1))
    async with recording.store.edit_state() as state:
        with pytest.raises(RuntimeError, match="inside edit_state"):
            await recording.store.set("a", 5)
        waiting = asyncio.create_task(recording.store.set("b", 2))
        await asyncio.sleep(0)
        state["a"] = 3
        assert dict((await recording.store.get_state()).items()) == {"a": 1}
    await waiting
    assert dict((await recording.store.get_state()).items()) == {"a": 3, "b": 2}


async def test_a_write_comes_behind_those_that_wait_already() -> None:
    recording = Recording(DictState())
    order: list[str] = []

    async def write(name: str) -> None:
        await recording.store.set("last", name)
        order.append(name)

    async with recording.store.edit_state() as edited:
        waiting = asyncio.create_task(write("waiting"), name="waiting")
        await asyncio.sleep(0)
        edited["first"] = "edit"
    # The lock is free now, and who waits for it has not had its turn.
    await write("later")
    await waiting
    assert order == ["waiting", "later"]
    assert await recording.store.get("last") == "later"
    assert await recording.store.get("first") == "edit"


async def test_a_write_within_an_edit_of_the_state_is_refused() -> None:
    recording = Recording(DictState())
    async with recording.store.edit_state():
        with pytest.raises(RuntimeError, match="edit_state"):
            await recording.store.set("a", 1)
    await recording.store.set("a", 2)
    assert recording.durable()["a"] == 2


async def test_a_reader_keeps_the_state_that_it_was_given() -> None:
    recording = Recording(DictState())
    await recording.store.set("a", 1)
    before = await recording.store.get_state()
    await recording.store.set("a", 2)
    assert (before["a"], (await recording.store.get_state())["a"]) == (1, 2)
