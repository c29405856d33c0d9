"""Events in a phrase: the question that a run asks, and the result with which it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json, to_json

LONGEST_PROMPT = 300
LONGEST_SUMMARY = 200
"""Characters."""
HEAD = 4_096
"""Bytes of a stored result that are enough for its summary, also where each character is written as an escape."""

_ASKING = ("prefix", "question", "message", "prompt", "msg")
"""Names of fields that hold a question, in the order in which they are looked for."""


def prompt_of(fields: Mapping[str, Any]) -> str | None:
    """Return the question that an event with these fields asks, which are as clients read them; None without fields.

    It is a field that is named like a question, or the only text, or else all of the fields as JSON.
    """
    fields = _flat(fields)
    named = [fields[name] for name in _ASKING if fields.get(name) and isinstance(fields[name], str)]
    texts = named[:1] or [value for value in fields.values() if isinstance(value, str)]
    if len(texts) == 1:
        return _cut(texts[0], LONGEST_PROMPT)
    return _cut(_compact(fields), LONGEST_PROMPT) if fields else None


def summary_of(head: bytes, *, is_whole: bool) -> str | None:
    """Return the result whose envelope begins with these bytes: the ``result`` of a StopEvent, else all of the fields
    as JSON; None where there is nothing to tell, or where it cannot be read."""
    try:
        text = head.decode(errors="strict" if is_whole else "ignore")
        envelope = from_json(text, allow_partial="off" if is_whole else "trailing-strings")
        fields = envelope["value"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(fields, dict) or not fields:
        return None
    fields = _flat(fields)
    result = fields["result"] if list(fields) == ["result"] else fields
    if result is None:
        return None
    return _cut(" ".join((result if isinstance(result, str) else _compact(result)).split()), LONGEST_SUMMARY)


def _flat(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the fields with those that the class of the event does not declare, which the engine writes apart."""
    apart = fields.get("_data")
    if not isinstance(apart, dict):
        return fields
    return {**{name: fields[name] for name in fields if name != "_data"}, **apart}


def _compact(value: Any) -> str:
    return to_json(value, inf_nan_mode="strings").decode()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
