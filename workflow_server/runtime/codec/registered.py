"""Types whose users say how their values are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Registered(NamedTuple):
    """How values of one type are kept."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


registered: dict[type, Registered] = {}

_followers: WeakSet[Any] = WeakSet()


def register_type(cls: type[T], *, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Let values of a type stand in events and in ``ctx.store`` of durable runs.

    ``encode`` makes of a value one that can be kept: numbers, texts, bytes, lists, dictionaries, models and so on.
    ``decode`` makes the value of it again, in another process perhaps; what it is given is its own to keep. Register
    the type where its module is loaded, before a run is resumed that holds one. Subclasses are types of their own.
    Registering a type again replaces what was said before.

    Raises:
        TypeError: ``cls`` is no class, or is one of those that JSON has itself.
    """
    if not isinstance(cls, type) or cls in (str, int, float, bool, type(None)):
        raise TypeError(f"register_type() takes a class that JSON does not have itself, not {cls!r}")
    registered[cls] = Registered(encode, decode)
    for encoder in _followers:
        encoder.forget_plans()


def follow(encoder: Any) -> None:
    """Let an encoder know of types that are registered later."""
    _followers.add(encoder)
