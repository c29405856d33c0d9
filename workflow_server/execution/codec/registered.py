"""Types whose users say how their values are kept."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Registered(NamedTuple):
    """The way in which values of one type are kept."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


registered: dict[type, Registered] = {}

_BROUGHT_ALONG = {
    ("tiktoken.core", "Encoding"): "workflow_server.execution.codec.llama_index",
    ("llama_index.core.storage.chat_store.sql", "SQLAlchemyChatStore"): "workflow_server.execution.codec.llama_index",
}
"""Types of libraries, by module and name, with the module of this server that registers them. It is imported when such
a value turns up: then the library is there."""

_KEEP_FAILURES = frozenset({("llama_index.core.tools.types", "ToolOutput"), ("workflows.events", "StepFailedEvent")})
"""Models, of libraries and of the engine, that hold the exception of something that failed, to tell of it: the run goes
on."""

_followers: WeakSet[Any] = WeakSet()


def registration(cls: type) -> Registered | None:
    """Return how values of a type are kept, where someone said so: its users first, then this server."""
    place = (cls.__module__, cls.__qualname__)
    if cls not in registered and place in _BROUGHT_ALONG:
        importlib.import_module(_BROUGHT_ALONG[place])
    return registered.get(cls)


def keeps_failures(cls: type) -> bool:
    """Return whether an exception that a model of this class holds is kept as far as it can be, as the engine's are."""
    return any((base.__module__, base.__qualname__) in _KEEP_FAILURES for base in cls.__mro__)


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
