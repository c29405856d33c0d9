"""Steps that change ``ctx.store`` side by side, in any order, and what is stored of it."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from workflows.events import StartEvent
from workflows.runtime.types.results import Returns, StepWorkerContext, StepWorkerState, StepWorkerStateContextVar

from tests.values import classes as c
from tests.values.strategies import VALUES
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import DictState
from workflow_server.execution.patches import Patch, apply
from workflow_server.execution.state import RecordingStateStore, decode_state, encode_state

STEPS = ("first", "second", "third")
KEYS = ("a", "b", "c")
STATES = ("dictionary", "typed")


class Typed(BaseModel):
    """A typed state."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    a: Any = None
    b: Any = 0
    c: Any = []
    d: dict[str, Any] = {}


class Change(NamedTuple):
    """An action of a step."""

    step: str
    what: str
    key: str
    value: Any

    def __repr__(self) -> str:
        return f"{self.step} {self.what} {self.key}: {type(self.value).__name__}"


_GROWING: st.SearchStrategy[Any] = st.sampled_from([
    [], {}, set(), frozenset(), (), deque(), Counter(), 0, 1.5, c.MyList(), c.MyDict(), c.MySet(), c.Bare(), c.Plain(1),
    c.AttrsSlots(1), c.Slotted(1), c.Person(name="x"), c.Extras(), c.FrozenSlotted(1), 2**62,
])  # fmt: skip
PLANS = st.lists(
    st.builds(
        Change,
        st.sampled_from(STEPS),
        st.sampled_from(["set", "set", "change", "change", "nested", "together", "drop", "finish"]),
        st.sampled_from(KEYS),
        VALUES | _GROWING,
    ),
    max_size=14,
)


class Outcome(NamedTuple):
    """The state as the steps see it, as the store has it, and the tree that the stored patches made."""

    live: dict[str, Any]
    durable: dict[str, Any]
    replayed: Any


async def carry_out(plan: list[Change], kind: str) -> Outcome:
    """Let the steps change the state as planned, and finish."""
    codec = Codec()
    state: BaseModel = DictState() if kind == "dictionary" else Typed()
    tree = encode_state(state, codec)
    stored: list[str] = []

    def store_patch(patch: Patch | None) -> None:
        stored.append(json.dumps(patch or []))

    store: RecordingStateStore[Any] = RecordingStateStore(state, codec, durable=tree, unattended=store_patch)
    for number, change in enumerate([*plan, *(Change(name, "finish", "", None) for name in STEPS)]):
        if change.what == "finish":
            store_patch(store.take(change.step))
            continue
        with _step(change.step):
            await _make(store, change, number, codec)
    for patch in stored:
        tree = apply(tree, json.loads(patch))
    live = await store.get_state()
    return Outcome(_items(live), _items(decode_state(store.durable, codec)), _part(tree))


def _items(state: BaseModel) -> dict[str, Any]:
    # Each key is a value for itself: an object that stands under two is compared as two.
    codec = Codec()
    items = dict(state.items()) if isinstance(state, DictState) else dict(state)
    return {key: codec.loads(codec.dumps(value)) for key, value in items.items()}


def _part(tree: Any) -> Any:
    return tree["keys"] if "keys" in tree else tree["model"]["v"]


async def _make(store: RecordingStateStore[Any], change: Change, number: int, codec: Codec) -> None:
    value = codec.loads(codec.dumps(change.value))
    if change.what == "set":
        await store.set(change.key, value)
    elif change.what == "change":
        await store.set(change.key, changed(await store.get(change.key, None), number))
    elif change.what == "nested":
        await store.set("d.inside.deep", value)
    else:
        async with store.edit_state() as state:
            if change.what == "together":
                _put(state, change.key, changed(_get(state, change.key), number))
                _put(state, "b", changed(_get(state, "b"), number))
            elif isinstance(state, DictState):
                state._data.pop(change.key, None)
            else:
                setattr(state, change.key, None)


def _get(state: Any, key: str) -> Any:
    return state.get(key) if isinstance(state, DictState) else getattr(state, key)


def _put(state: Any, key: str, value: Any) -> None:
    if isinstance(state, DictState):
        state[key] = value
    else:
        setattr(state, key, value)


def changed(value: Any, number: int) -> Any:  # noqa: C901 one case a kind
    """The value with something more in it, changed in place where it can be."""
    if isinstance(value, (list, deque)):
        value.append((number, "more"))
    elif isinstance(value, Counter):
        value["counted"] += 1
    elif isinstance(value, dict):
        value[number if number % 2 else f"key {number}"] = {"n": number}
    elif isinstance(value, set):
        value.add((number, "member"))
    elif type(value) is frozenset:
        return value | {number}
    elif type(value) is tuple:
        return (*value, number)
    elif type(value) in (int, float):
        return value + number
    elif isinstance(value, c.Bare):
        value.__dict__[f"n{number % 3}"] = [number]
    elif isinstance(value, (c.Plain, c.AttrsSlots)):
        value.a, value.b = number, [*value.b, number]
    elif isinstance(value, c.Person):
        value.more, value.age = {"n": number}, number
    else:
        return [value, number]
    return value


@contextmanager
def _step(name: str) -> Iterator[None]:
    state = StepWorkerState("s", {}, [], invocation_id=name)
    token = StepWorkerStateContextVar.set(StepWorkerContext(event=StartEvent(), state=state, returns=Returns([])))
    try:
        yield
    finally:
        StepWorkerStateContextVar.reset(token)
