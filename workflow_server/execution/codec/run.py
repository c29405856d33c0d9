"""One encoding: the objects that it has met, so that an object held twice is one object when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import TAG
from workflow_server.execution.codec.shapes import shape_of

Json = Any
Key = TypeVar("Key")
Part = TypeVar("Part")
Plan = Callable[[Any, "Run"], Json]
"""Encodes the values of one class."""

Mark = tuple[int, int, bool]

MAX_DEPTH = 150
"""Maximum nesting of a value: encoding and decoding take up to three of Python's 1,000 frames for each level."""

REMEDY = "leave it out of events and of ctx.store, or register its type with workflow_server.register_type"
FLATTER = "leave it out of events and of ctx.store, or keep it flatter"


class Run:
    """The objects that one encoding has met, numbered in the order in which they will be created again.

    An object that is created before its contents is numbered first (``enter``), one that is created from its contents
    afterwards (``number``).
    """

    # Attributes of the class, since most values need none of these.
    unproven: set[object] | None = None
    """Shapes of values whose exact round trip is not certain."""
    has_failures = False
    """True once an exception of a failed attempt was met."""
    hashes_others = False
    """True once a key or member refers to an object met before: only reading it back makes that certain."""
    left_to_class: Unkeepable | None = None
    """Reason why an object's state could not be stored and its class's own way was used; raised if that loses
    something."""
    plain_exceptions = False
    """True to store only the messages of exceptions of failed attempts."""
    by_copies = False
    """True to iterate over copies of containers, because another thread changes them meanwhile."""

    def __init__(self, *, plain_exceptions: bool = False, by_copies: bool = False) -> None:
        self.met: dict[int, tuple[int, Any]] = {}
        """By identity: the number, and the object itself, which must live as long as its identity is used."""
        self.depth = 0
        self.shared = False
        if plain_exceptions or by_copies:
            self.plain_exceptions = plain_exceptions
            self.by_copies = by_copies

    def enter(self, value: Any) -> Json | None:
        """Number an object and go one level deeper; returns a reference instead if the object was met before."""
        known = self.met.get(id(value))
        if known is not None:
            self.shared = True
            return {TAG: "ref", "n": known[0]}
        self.met[id(value)] = (len(self.met), value)
        self.deeper()
        return None

    def seen(self, value: Any) -> Json | None:
        """Return a reference to an object that was met before, None for a new one."""
        known = self.met.get(id(value))
        if known is None:
            return None
        self.shared = True
        return {TAG: "ref", "n": known[0]}

    def number(self, value: Any) -> None:
        """Number an object after its contents were encoded."""
        self.met[id(value)] = (len(self.met), value)

    def deeper(self) -> None:
        """Go one level deeper. The caller subtracts one from ``depth`` when the whole object is encoded."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unkeepable(f"is nested deeper than {MAX_DEPTH} levels: {FLATTER}")

    def must_be_proven(self, kind: type[Any], node: Json) -> None:
        """Note that an exact round trip of this value is not certain."""
        if self.unproven is None:
            self.unproven = set()
        self.unproven.add((kind, shape_of(node)))

    def copied(self, mapping: Mapping[Key, Part]) -> Mapping[Key, Part]:
        """Return the mapping, or a copy of it.

        Python copies a dictionary in one go; building a list of its items creates objects, and other threads may run in
        between.
        """
        return dict.copy(mapping) if self.by_copies and isinstance(mapping, dict) else mapping

    def mark(self) -> Mark:
        """Return the position of this encoding, to go back to."""
        return len(self.met), self.depth, self.shared

    def back_to(self, mark: Mark) -> None:
        """Forget everything that was met since."""
        count, self.depth, self.shared = mark
        while len(self.met) > count:
            self.met.popitem()
