"""Types whose users define how their values are stored."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Registered(NamedTuple):
    """The functions that store and restore values of one type."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


registered: dict[type, Registered] = {}

_BROUGHT_ALONG = {
    ("tiktoken.core", "Encoding"): "workflow_server.execution.codec.llama_index",
    ("llama_index.core.storage.chat_store.sql", "SQLAlchemyChatStore"): "workflow_server.execution.codec.llama_index",
}
"""Types of libraries, by module and name, with the module of this server that registers them. It is imported when such
a value turns up, since the library is loaded then."""

_KEEP_FAILURES = frozenset({("llama_index.core.tools.types", "ToolOutput"), ("workflows.events", "StepFailedEvent")})
"""Models, of libraries and of the engine, that report a failure by holding its exception, while the run goes on."""

_followers: WeakSet[Any] = WeakSet()


def registration(cls: type) -> Registered | None:
    """Return the registration of a type, None without one: a user's own goes before this server's."""
    place = (cls.__module__, cls.__qualname__)
    if cls not in registered and place in _BROUGHT_ALONG:
        importlib.import_module(_BROUGHT_ALONG[place])
    return registered.get(cls)


def keeps_failures(cls: type) -> bool:
    """Return whether exceptions in models of this class are stored as completely as possible, like the engine's own."""
    return any((base.__module__, base.__qualname__) in _KEEP_FAILURES for base in cls.__mro__)


def register_type(cls: type[T], *, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Let values of a type be stored in events and in ``ctx.store`` of durable runs.

    ``encode`` turns a value into one that can be stored: numbers, texts, bytes, lists, dictionaries, models and so on.
    ``decode`` turns that back into the value, possibly in another process; it may keep its argument. Register the type
    in the module that defines or imports it, before a run is resumed that holds one. Subclasses are not included.
    Registering a type again replaces the earlier registration.

    Raises:
        TypeError: ``cls`` is not a class, or is one of JSON's own types.
    """
    if not isinstance(cls, type) or cls in (str, int, float, bool, type(None)):
        raise TypeError(f"register_type() expects a class other than JSON's own types, not {cls!r}")
    registered[cls] = Registered(encode, decode)
    for encoder in _followers:
        encoder.forget_plans()


def follow(encoder: Any) -> None:
    """Let an encoder know of types that are registered later."""
    _followers.add(encoder)
