"""Validation errors explained to clients: places and rules, in one line of bounded length, without values.

A rule is pydantic's sentence, unless that names the value or a class. The message of a user's own validator is shown,
since nobody else knows its rule; but whatever looks like a part of the value is removed from it. If the model holds
secrets, the message is not shown at all: the validator may have changed the value that it quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from workflow_server.errors import FieldProblem
from workflow_server.printable import printable

MAX_ERRORS = 10
MAX_PLACE = 100
"""Characters of a place, such as ``order.lines.0.price``."""
MAX_RULE = 200
MAX_COUNTED = 20_000
"""Errors that are looked at: pydantic returns them all at once, at about 1 kB each."""

MAX_SCALARS = 1_000
"""Strings and numbers of a value that are searched for in the messages of its validators."""

_NOT_VALID = "this is not valid"
_NO_EVENT = "this is no event of this workflow"
_ENGINES = re.compile(r"Value error, Serializable\w+ must resolve to ")
"""The start of the engine's message about an event inside another event, which names the engine's own classes."""
_AN_OBJECT = "Input should be an object"
_A_LIST = "Input should be a list"
_A_COMPLEX = "Input should be a complex number, such as '1+2j'"
_NOT_AS_JSON = "this cannot be given as JSON"
_RULES: dict[str, str] = {
    "bytes_invalid_encoding": "Data should be valid {encoding}",
    "callable_type": _NOT_AS_JSON,
    "complex_str_parsing": _A_COMPLEX,
    "complex_type": _A_COMPLEX,
    "counter_type": _AN_OBJECT,
    "dataclass_exact_type": _AN_OBJECT,
    "dataclass_type": _AN_OBJECT,
    "datetime_object_invalid": "Input should be a valid datetime",
    "deque_type": _A_LIST,
    "dict_type": _AN_OBJECT,
    "extra_forbidden": "there is no such field",
    "frozen_dict_type": _AN_OBJECT,
    "frozen_set_type": _A_LIST,
    "get_attribute_error": _NOT_VALID,
    "is_instance_of": _NOT_AS_JSON,
    "is_subclass_of": _NOT_AS_JSON,
    "iterable_type": _A_LIST,
    "iteration_error": _NOT_VALID,
    "mapping_type": _AN_OBJECT,
    "model_attributes_type": _AN_OBJECT,
    "model_type": _AN_OBJECT,
    "named_tuple_type": "Input should be a list or an object",
    "needs_python_object": _NOT_AS_JSON,
    "ordered_dict_type": _AN_OBJECT,
    "set_type": _A_LIST,
    "timezone_offset": "Timezone offset of {tz_expected} required",
    "tuple_type": _A_LIST,
    "union_tag_invalid": "{discriminator} should be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing, which says which of its forms this has",
    "uuid_parsing": "Input should be a valid UUID",
}
"""Replacements for sentences of pydantic that name a class, are about Python or quote the value."""

OWN_ERRORS = frozenset({"many_errors", "no_own_type", "too_many_ways"})
"""Types of errors that this server makes."""

_TOLD_AS_THEY_ARE: frozenset[str] = OWN_ERRORS | frozenset(get_args(ErrorType)) - {"value_error", "assertion_error"}
"""Types of errors with messages by pydantic or by this server; all others have a user's."""

_TAG = re.compile(
    r".*[\[\](){}<>,].*|(?:any|bool|bytes|complex|constrained-\w+|date|datetime|decimal|dict|enum|float|frozenset|int"
    r"|json|json-or-python|lax-or-strict|list|literal|none|nullable|set|str|time|timedelta|tuple|url|uuid)",
    re.DOTALL,
)
"""Names that pydantic gives to the branches of a union. Fields rarely have such a name; with the value at hand, they
are named all the same."""


_PIECE = re.compile(r"\w{4,}")
_NAME = re.compile(r"(?=[\w.+@-]{4})[\w.+@-]*[0-9A-Z_@][\w.+@-]*")
_QUOTATION = re.compile(r"""(?P<mark>['"`])(?P<text>(?:(?!(?P=mark)).)*)(?P=mark)""")
"""Parts of a sentence that look like values: names that are not plain words, and quoted text."""


class Explanation(NamedTuple):
    """A validation error as one line, and the same by field."""

    text: str
    problems: tuple[FieldProblem, ...]


def explain(error: ValidationError, data: Any = None, kind: type[BaseModel] | None = None) -> str:
    """Return the text of ``explained``."""
    return explained(error, data, kind).text


def explained(error: ValidationError, data: Any = None, kind: type[BaseModel] | None = None) -> Explanation:
    """Return ``'place': rule`` for each of the first errors, joined by semicolons, and the same by field.

    With ``data``, the JSON that was validated, places name only its fields; without it, the branches of a union are
    recognized by their names. ``kind`` is the class that was validated, in case it holds secrets.
    """
    if error.error_count() > MAX_COUNTED:
        return Explanation(f"{error.error_count()} of its values are not valid", ())
    secret = kind is not None and holds_secrets(kind)
    problems: dict[tuple[str | int, ...], list[str]] = {}
    left = 0
    for problem in error.errors(include_url=False):
        # A union reports each of its branches at the same place.
        path = _path(problem, data)
        rules = problems.get(path, [])
        if sum(map(len, problems.values())) >= MAX_ERRORS:
            left = error.error_count() - MAX_ERRORS
            break
        rule = _rule(problem, data, secret=secret)
        if rule not in rules:
            problems[path] = [*rules, rule]
    by_field = tuple(FieldProblem(path, ", or: ".join(rules)) for path, rules in problems.items())
    told = [f"'{_place(path)}': {message}" if path else message for path, message in by_field]
    if left:
        told.append(f"and {left} more")
    return Explanation("; ".join(told), by_field)


def _place(path: tuple[str | int, ...]) -> str:
    return printable(".".join(map(str, path)), MAX_PLACE)


def _path(problem: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    here = data
    last = len(problem["loc"]) - 1
    for position, part in enumerate(problem["loc"]):
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        elif isinstance(part, int):
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif position == last and problem["type"] == "missing":
            here = None
        elif part == "[key]" or data is not None or _TAG.fullmatch(part):
            continue
        parts.append(part if isinstance(part, int) else part[: MAX_PLACE + 1])
    return tuple(parts)


def _rule(problem: ErrorDetails, data: Any, *, secret: bool) -> str:
    kind = problem["type"]
    if kind in _RULES:
        rule = _RULES[kind].format_map(problem.get("ctx", {}))
    elif kind in _TOLD_AS_THEY_ARE:
        rule = problem["msg"]
    elif _ENGINES.match(problem["msg"]):
        rule = _NO_EVENT
    elif secret:
        rule = _NOT_VALID
    else:
        words = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        # A validator may quote other fields than its own.
        rule = _without_values(words[: 10 * MAX_RULE], [problem["input"], data])
    return printable(rule, MAX_RULE)


def _without_values(words: str, values: Any) -> str:
    """Return ``words`` with an ellipsis for each string and number of the values, and for what looks like a part of it.

    Validators split, strip and cut values before they quote them.
    """
    known = [str(scalar) for scalar in islice(_scalars(values), MAX_SCALARS) if not isinstance(scalar, bool)]
    quoted = {part for text in known for part in (text, text.strip(), *(_PIECE.findall(text[:MAX_PLACE])))}
    quoted |= {repr(text)[1:-1] for text in known if len(text) <= len(words)}
    lowered = words.lower()
    for text in sorted(quoted, key=len, reverse=True):
        if 1 < len(text) <= len(words) and text.lower() in lowered:
            # A short one may be part of any word.
            edge = r"\b" if len(text) < 4 else ""
            words = re.sub(f"{edge}{re.escape(text)}{edge}", "…", words, flags=re.IGNORECASE)
    everything = "\n".join(known).lower()

    def is_sent(text: str) -> bool:
        return len(text) > 1 and text.strip(".,+-").lower() in everything

    words = _NAME.sub(lambda found: "…" if is_sent(found[0]) else found[0], words)
    return _QUOTATION.sub(
        lambda found: f"{found['mark']}…{found['mark']}" if is_sent(found["text"]) else found[0], words
    )


def _scalars(value: Any) -> Iterable[str | int | float]:
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, (list, tuple)):
            pending.extend(item)
        elif isinstance(item, (str, int, float)):
            yield item


@lru_cache(maxsize=1_000)
def holds_secrets(kind: type[BaseModel]) -> bool:
    """Return whether a field of this class, or of a class inside it, is a secret."""
    seen: set[Any] = set()
    pending: list[Any] = [kind]
    while pending:
        item = pending.pop()
        try:
            if item in seen:
                continue
            seen.add(item)
        except TypeError:
            # An unhashable annotation is not a class.
            continue
        if isinstance(item, type) and get_origin(item) is None:
            if issubclass(item, (SecretStr, SecretBytes)) or item.__name__ == "Secret" or _is_any_event(item):
                return True
            pending.extend(_annotations(item))
        else:
            pending.extend((get_origin(item), *get_args(item), *_meanings(item)))
    return False


def _is_any_event(kind: type[Any]) -> bool:
    """Return whether a field of this class accepts an event of any other class, which may have secrets."""
    return (kind.__module__, kind.__name__) == ("workflows.events", "Event")


def _meanings(item: Any) -> list[Any]:
    """Return the types that a new type, an alias or a type variable stands for."""
    try:
        return [getattr(item, name, None) for name in ("__supertype__", "__value__", "__bound__")]
    except NameError:
        return []


def _annotations(kind: type[Any]) -> list[Any]:
    if issubclass(kind, BaseModel):
        return [field.annotation for field in kind.model_fields.values()]
    try:
        # Of dataclasses, typed dictionaries and named tuples.
        return list(get_type_hints(kind).values())
    except (AttributeError, NameError, SyntaxError, TypeError):
        return []
