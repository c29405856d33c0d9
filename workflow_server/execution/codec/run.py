"""One encoding: what it has met, so that an object that is held twice is one object when it is read."""

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
"""Levels that a value may be nested: encoding and decoding take up to three frames of Python's 1,000 for each."""

REMEDY = "leave it out of events and of ctx.store, or register its type with workflow_server.register_type"
FLATTER = "leave it out of events and of ctx.store, or keep it flatter"


class Run:
    """The objects that one encoding has met, numbered in the order in which they will be made again.

    An object that is made before what it holds is numbered first (``enter``), one that is made of what it holds
    afterwards (``number``).
    """

    __slots__ = (
        "by_copies",
        "depth",
        "has_failures",
        "hashes_others",
        "left_to_class",
        "met",
        "plain_exceptions",
        "shared",
        "unproven",
    )

    def __init__(self, *, plain_exceptions: bool = False, by_copies: bool = False) -> None:
        self.met: dict[int, tuple[int, Any]] = {}
        """By identity: the number, and the object itself, which must live as long as its identity counts."""
        self.depth = 0
        self.shared = False
        self.unproven: set[object] = set()
        """Shapes of values that are not certain to come back as they were."""
        self.by_copies = by_copies
        """Containers are looked through by copies of them: a thread changes some meanwhile."""
        self.plain_exceptions = plain_exceptions
        """Of the exceptions of failed attempts, only the message is kept."""
        self.has_failures = False
        """There are exceptions of failed attempts."""
        self.hashes_others = False
        """A key or a member refers to something that was met before: it is certain only when it was read back."""
        self.left_to_class: Unkeepable | None = None
        """Reason why the state of an object could not be kept, so that it was kept in the way its class defines; raised
        if that way loses something."""

    def enter(self, value: Any) -> Json | None:
        """Number an object and go into it; what refers to it where it was met before."""
        known = self.met.get(id(value))
        if known is not None:
            self.shared = True
            return {TAG: "ref", "n": known[0]}
        self.met[id(value)] = (len(self.met), value)
        self.deeper()
        return None

    def seen(self, value: Any) -> Json | None:
        """Return what refers to an object that was met before."""
        known = self.met.get(id(value))
        if known is None:
            return None
        self.shared = True
        return {TAG: "ref", "n": known[0]}

    def number(self, value: Any) -> None:
        """Number an object of which something was encoded already."""
        self.met[id(value)] = (len(self.met), value)

    def deeper(self) -> None:
        """Go into something that is not numbered. Who has gone in takes one of ``depth`` when all of it is done."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unkeepable(f"is nested deeper than {MAX_DEPTH} levels: {FLATTER}")

    def must_be_proven(self, kind: type[Any], node: Json) -> None:
        """It is not certain that this value comes back as it was."""
        self.unproven.add((kind, shape_of(node)))

    def copied(self, mapping: Mapping[Key, Part]) -> Mapping[Key, Part]:
        """A dictionary, or a copy that Python makes of it in one go: a list of its items would be made of new objects,
        between which other threads may run."""
        return dict.copy(mapping) if self.by_copies and isinstance(mapping, dict) else mapping

    def mark(self) -> Mark:
        """Return where this encoding stands, to go back to."""
        return len(self.met), self.depth, self.shared

    def back_to(self, mark: Mark) -> None:
        """Forget what was met since."""
        count, self.depth, self.shared = mark
        while len(self.met) > count:
            self.met.popitem()
