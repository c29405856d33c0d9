"""Types whose users say how they are kept, and the engine's own objects."""

from __future__ import annotations

from typing import Any

import pytest
from workflows.events import Event, StartEvent
from workflows.runtime.types.internal_state import EventAttempt
from workflows.runtime.types.results import StepWorkerWaiter

from tests.execution.codec.roundtrip import assert_kept
from tests.values import classes as c
from tests.values.equality import differs
from workflow_server import register_type
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import compact_layouts


class Handle:
    """Holds what cannot be kept, until its type is registered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.view = memoryview(b"")


def test_a_type_is_kept_from_when_it_is_registered() -> None:
    codec = Codec()
    with pytest.raises(Unstorable, match=r"\.view cannot be stored: it is of type memoryview"):
        codec.encode(Handle("a"))
    register_type(Handle, encode=lambda handle: {"name": (handle.name,)}, decode=lambda told: Handle(*told["name"]))
    shared = Handle("a")
    first, second = codec.loads(codec.dumps([shared, shared]))
    assert first is second
    assert first.name == "a"


@pytest.mark.parametrize("kind", [str, int, type(None), "Handle", [Handle]])
def test_what_json_has_itself_and_what_is_no_class_is_not_registered(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"register_type\(\) expects a class"):
        register_type(kind, encode=str, decode=str)


def test_registered_values_stand_in_keys_and_sets() -> None:
    register_type(c.Money, encode=lambda money: money.cents, decode=c.Money)
    codec = Codec()
    value = {c.Money(1): {c.Money(2), c.Money(3)}}
    assert codec.loads(codec.dumps(value)) == value


def test_requirements_of_waits_and_retries_are_kept_as_they_are() -> None:
    codec = Codec([], compact_layouts())
    waiter = StepWorkerWaiter(
        waiter_id="w",
        event=StartEvent(value=(1, {2})),
        waiting_for_event=Event,
        requirements={"where": c.Point(1, 2), "when": {1: c.Color.RED}},
        has_requirements=True,
        resolved_event=Event(rows=[c.Employee(name="a")]),
    )
    assert differs(waiter, codec.loads(codec.dumps(waiter))) is None
    attempt = EventAttempt(event=Event(v=(1,)), attempts=2)
    assert differs(attempt, codec.loads(codec.dumps(attempt))) is None
    assert_kept(Event(v=frozenset({1})))
