"""Strict parsing of JSON: what cannot be stored and returned unchanged is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from workflow_server.errors import InvalidBody
from workflow_server.printable import printable

MAX_DEPTH = 100
"""Levels of nested arrays and objects."""

MAX_KEY = 100
"""Characters of a key that are shown in a message."""

_INTEGERS = range(-(2**63), 2**63)
_INTEGER_CHARACTERS = 20
"""The length of the longest 64-bit integer. Longer ones are not converted, which would take quadratic time."""

# An unclosed string extends to the end of the text, so that the scan takes linear time for any input.
_STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def parse_json(text: bytes | str, what: str = "The body") -> Any:
    """Parse ``text``; ``what`` names it in messages.

    Raises:
        InvalidBody: it is not UTF-8 or not JSON, is nested deeper than ``MAX_DEPTH``, or has NaN, an infinity, an
            integer beyond 64 bits, a number beyond a double, a lone surrogate, or a repeated key in an object.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InvalidBody(f"{what} is not valid UTF-8 at byte {error.start}.") from None
    _check_depth(decoded, what)
    try:
        value = _DECODER.decode(decoded)
    except _Refused as error:
        raise InvalidBody(f"{what} is not accepted: {error}.") from None
    except json.JSONDecodeError as error:
        raise InvalidBody(f"{what} is not valid JSON: {error}.") from None
    if "\\u" in decoded:
        _check_surrogates(value, what)
    return value


def canonical_json(value: Any) -> bytes:
    """Return ``value`` in canonical form: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class _Refused(Exception):
    """Raised for JSON that Python accepts, but this server does not."""


def _check_depth(text: str, what: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        character = text[match.start()]
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidBody(f"{what} is nested too deep: at most {MAX_DEPTH} levels are accepted.")
        elif character in "]}":
            depth -= 1


def _check_surrogates(value: Any, what: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidBody(f"{what} is not accepted: a string has a lone surrogate.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a JSON number")


def _parse_integer(text: str) -> int:
    if len(text) <= _INTEGER_CHARACTERS and (number := int(text)) in _INTEGERS:
        return number
    raise _Refused("an integer does not fit into 64 bits: use a string")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Refused("a number does not fit into a double: use a string")
    return number


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree about which of two equal keys counts, so neither is safe to choose.
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"an object has the key '{printable(key, MAX_KEY)}' twice")
            seen.add(key)
    return result


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant,
    parse_int=_parse_integer,
    parse_float=_parse_float,
    object_pairs_hook=_unique_keys,
)
