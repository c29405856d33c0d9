"""JSON as it is accepted from the wire: what cannot be stored and given back unchanged is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from workflow_server.errors import InvalidBody
from workflow_server.printable import printable

MAX_DEPTH = 100
"""Levels to which arrays and objects may be nested."""

MAX_KEY = 100
"""Characters of a key that a message names."""

_INTEGERS = range(-(2**63), 2**63)
_INTEGER_CHARACTERS = 20
"""The length of the longest 64-bit integer. Longer texts are refused unconverted: converting takes quadratic time."""

# A string that is not closed runs to the end of the text, so that the scan takes linear time whatever it is given.
_STRINGS_AND_BRACKETS = re.compile(r'"[^"\\]*+(?:\\(?:.|\Z)[^"\\]*+)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def parse_json(text: bytes | str, what: str = "The body") -> Any:
    """The value that ``text`` holds.

    ``what`` names the text in messages.

    Raises:
        InvalidBody: it is not UTF-8, not JSON, nested deeper than ``MAX_DEPTH``, has NaN or an infinity, an integer
            past 64 bits, a number past a double, a lone surrogate, or one key twice in an object.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InvalidBody(f"{what} is not valid UTF-8: see byte {error.start}.") from None
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
    """One text for all the ways of writing ``value``: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class _Refused(Exception):
    """Valid JSON for Python, not for us."""


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
        raise InvalidBody(f"{what} is not accepted: a string has half of a surrogate pair.") from None


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
    # Parsers disagree about which of two equal keys counts, so no answer to such a body is safe.
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
