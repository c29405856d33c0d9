"""Trees as text, and back."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json

Json = Any

exactly = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
"""Return a tree as the text that Python's json gives. Names in stored trees are such texts, and must stay so."""


def text_of(tree: Json) -> str:
    """Return a tree as text, in ASCII only.

    Raises:
        ValueError: it holds a number that JSON does not have.
    """
    text = text_of_finite(tree)
    return exactly(tree) if text is None or "NaN" in text or "Infinity" in text else text


def text_of_finite(tree: Json) -> str | None:
    """Return a tree without NaN and infinities as text, in ASCII only; None where it holds a lone surrogate or too many
    levels.

    pydantic-core takes a third of the time of Python's json, and writes other characters than ASCII as they are.
    """
    try:
        data = to_json(tree)
    except (ValueError, RuntimeError):
        return None
    return data.decode("ascii") if data.isascii() else exactly(tree)


def tree_of(text: str) -> Json:
    """Return the tree of a text.

    Raises:
        ValueError: it is not valid JSON.
    """
    try:
        return from_json(text, cache_strings="keys")
    except ValueError:
        # As above. On what is not JSON at all, the two agree.
        return json.loads(text)
