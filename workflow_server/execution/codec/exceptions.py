"""Encoding of exceptions: their arguments, attributes and causes, and those that the engine stores of failed
attempts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflow_server.execution.codec.containers import Containers
from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import TAG, attributes_of, escaped
from workflow_server.execution.codec.names import Names
from workflow_server.execution.codec.run import Plan, Run

Json = Any

_LOST: Json = object()


class Exceptions:
    """Encodes exceptions; ``encode`` encodes what they hold."""

    def __init__(self, encode: Plan, names: Names, containers: Containers) -> None:
        self._encode = encode
        self._names = names
        self._containers = containers

    def exactly(self, value: BaseException, run: Run) -> Json:
        """Return the tree of an exception, complete but for its traceback."""
        known = run.seen(value)
        if known is not None:
            return known
        run.deeper()
        # Some have more state than args and attributes: OSError has a file name, ImportError a module name.
        reduced: Any = value.__reduce__()
        state = reduced[2] if len(reduced) > 2 else {}
        node = {TAG: "x", "c": self._names.of(type(value)), "a": self._arguments(reduced[1], run)}
        run.number(value)
        attributes = attributes_of(value)
        node["v"] = self._containers.attributes(attributes, run)
        others = {name: item for name, item in state.items() if name not in attributes}
        if others:
            node["w"] = self._containers.attributes(others, run)
        run.must_be_proven(type(value), node)
        run.depth -= 1
        return {**node, **self._chain(value, run)}

    def _arguments(self, args: tuple[Any, ...], run: Run) -> list[Json]:
        run.deeper()
        try:
            return self._containers.items(args, run)
        except Unkeepable as error:
            raise error.at_attribute("args") from None

    def _chain(self, value: BaseException, run: Run) -> dict[str, Json]:
        """Return its cause and context where they can be stored; they describe the exception and are not part of it."""
        chain: dict[str, Json] = {"sup": 1} if value.__suppress_context__ else {}
        for key, other in (("cause", value.__cause__), ("context", value.__context__)):
            if other is not None and (encoded := self._if_keepable(other, run)) is not _LOST:
                chain[key] = encoded
        return chain

    def _if_keepable(self, value: Any, run: Run) -> Json:
        mark = run.mark()
        try:
            return self._encode(value, run)
        except BaseException:
            run.back_to(mark)
            return _LOST

    def attributes(self, attributes: Mapping[str, Any], run: Run) -> dict[str, Json]:
        """Return the trees of named values; exceptions among them as completely as possible."""
        failures = {name: item for name, item in attributes.items() if isinstance(item, BaseException)}
        if not failures:
            return self._containers.attributes(attributes, run)
        node: dict[str, Json] = {}
        for name, item in attributes.items():
            if name in failures:
                node[escaped(name)] = self.as_far_as_kept(item, run)
            else:
                node |= self._containers.attributes({name: item}, run)
        return node

    def as_far_as_kept(self, value: BaseException, run: Run) -> Json:
        """Return an exception of a failed attempt as completely as possible.

        A step must be retried even when its exception holds something that cannot be stored. The message always can be.
        """
        run.has_failures = True
        exact = _LOST if run.plain_exceptions else self._if_keepable(value, run)
        if exact is not _LOST:
            return exact
        known = run.seen(value)
        if known is not None:
            return known
        run.number(value)
        attributes = {} if run.plain_exceptions else _attributes(value)
        kept = {name: self._if_keepable(item, run) for name, item in attributes.items()}
        kind = type(value)
        try:
            name = self._names.of(kind)
        except Unkeepable:
            name = None
        node = {TAG: "x?", "c": name, "n": f"{kind.__module__}.{kind.__qualname__}", "m": _message(value)}
        return {**node, "v": {key: item for key, item in kept.items() if item is not _LOST}}


def _attributes(value: BaseException) -> dict[str, Any]:
    try:
        return dict(value.__dict__)
    except BaseException:
        return {}


def _message(value: BaseException) -> str:
    try:
        return str(value)
    except BaseException:
        return ""
