"""The version of a workflow's code: given by its author, or a hash that changes with its functions and its events.

The hash is over source texts, so that it is the same in every process, after every restart and, for a source that has
not changed, on every version of Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from textwrap import dedent
from types import CodeType
from typing import Any

from pydantic import BaseModel

from workflow_server.execution.codec import fingerprint
from workflow_server.execution.engine import Workflow, step_functions
from workflow_server.printable import printable

LONGEST = 100
"""Characters of a version."""


def checked(version: object) -> str:
    """Return a version that was given.

    Raises:
        ValueError: it is not a short text that can be printed.
    """
    if isinstance(version, str) and 0 < len(version) <= LONGEST and printable(version) == version:
        return version
    raise ValueError(f"its version must be a text of 1 to {LONGEST} characters that can be printed")


def version_of(workflow: Workflow, types: Iterable[type[Any]]) -> str:
    """Return a short text that changes with the code of a workflow's functions, and with the fields of its events and
    its state."""
    parts = sorted(f"{name}\n{_source(function)}" for name, function in _functions(workflow))
    for kind in sorted(types, key=_name):
        fields = fingerprint(kind) if issubclass(kind, BaseModel) else ""
        parts.append(f"{_name(kind)} {fields}")
    return blake2b("\n\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _functions(workflow: Workflow) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the functions of the workflow's classes and its steps, those that were added from outside included."""
    yield from step_functions(workflow).items()
    for kind in type(workflow).__mro__:
        if issubclass(Workflow, kind):
            continue
        for name, value in vars(kind).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function):
                yield f"{_name(kind)}.{name}", inspect.unwrap(function)


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _source(function: Callable[..., Any]) -> str:
    """Return the lines of a function's source, or its code where there is no source."""
    try:
        lines = dedent(inspect.getsource(function)).splitlines()
    except Exception:
        # There is none, or the file was changed while it was imported.
        return _code(getattr(function, "__code__", None))
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _code(code: CodeType | None) -> str:
    if code is None:
        return ""
    constants = [_code(part) if isinstance(part, CodeType) else repr(part) for part in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, constants))
