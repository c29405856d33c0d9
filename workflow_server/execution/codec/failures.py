"""Reasons why a value cannot be stored, with the place in it, or why a stored one cannot be read."""

from __future__ import annotations

from inspect import getattr_static

LONGEST_KEY = 40
LONGEST_PLACE = 200
"""Maximum characters shown of a key, and of all keys together, in the place of a value."""


class Unkeepable(Exception):
    """A value cannot be stored. The message says why, ``place`` says where."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind: str | None = None
        """The type of the value that cannot be stored, as shown to its author."""
        self._path: list[str] = []
        self._root: str | None = None
        self._model: tuple[str, int] | None = None

    def of(self, kind: type) -> Unkeepable:
        """Set the type of the value if it is not known yet, and return this."""
        if self.kind is None:
            self.kind = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        return self

    def at_index(self, index: object) -> Unkeepable:
        """Add the key or index at which a container holds it, and return this."""
        shown = repr(index) if isinstance(index, (str, int)) else type(index).__name__
        return self._inside(f"[{shortened(shown)}]")

    def at_key(self, key: object) -> Unkeepable:
        """Add that it is part of this key or member of a container, and return this."""
        return self._inside(f".key({type(key).__name__})")

    def at_attribute(self, name: str) -> Unkeepable:
        """Add the attribute by which an object holds it, and return this."""
        return self._inside(f".{shortened(name)}" if name.isidentifier() else f".{shortened(ascii(name))}")

    def _inside(self, step: str) -> Unkeepable:
        if self._root is None:
            self._path.append(step)
        return self

    def in_model(self, kind: type) -> Unkeepable:
        """Add the class of the model around it, and return this: a user begins to look at the outermost one."""
        if self._root is None:
            if self._path[-2:] and self._path[-1] == "._data":
                # An undeclared field of an event: users know it as a field.
                self._path[-2:] = [_as_field(self._path[-2])]
            elif self._path and self._path[-1].startswith("._"):
                self._path[-1] = _as_property(kind, self._path[-1])
            self._model = (kind.__name__, len(self._path))
        return self

    def in_engine(self, name: str) -> Unkeepable:
        """Drop the place inside an object of the engine, which means nothing to a user, and return this."""
        if self._root is None:
            if self._model is not None:
                self._root = self._model[0]
                self._path = self._path[: self._model[1]]
            else:
                self._root = name
        return self

    def place(self, outside: str) -> str:
        """Return the place as one would write it in Python: ``outside.items[3]['key']``."""
        inside = "".join(reversed(self._path))
        return (self._root or outside) + (inside if len(inside) <= LONGEST_PLACE else f"{inside[:LONGEST_PLACE]}…")


class Undecodable(ValueError):
    """A stored value cannot be read: the code has changed since, or the file is damaged.

    ``remedy`` says what would help, where that is known, and ``stored_name`` is the qualified name of what is gone.
    """

    def __init__(self, reason: str, *, remedy: str | None = None, stored_name: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy
        self.stored_name = stored_name


def _as_field(key: str) -> str:
    name = key[2:-2]
    return f".{name}" if name.isidentifier() else key


def _as_property(kind: type, attribute: str) -> str:
    """A private attribute as users know it where the class has a property of that name, as ``result`` of StopEvent."""
    public = attribute[2:]
    return f".{public}" if isinstance(getattr_static(kind, public, None), property) else attribute


def shortened(text: str) -> str:
    """Return a key, shortened for display."""
    return text if len(text) <= LONGEST_KEY else f"{text[: LONGEST_KEY - 1]}…"
