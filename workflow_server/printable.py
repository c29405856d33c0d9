"""Text of others, made safe for one line of ours."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters: line ends and terminal escapes
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls, which can hide what a text says
    "\u2028\u2029"  # more line ends
    "\ud800-\udfff]"  # lone surrogates, which cannot be encoded
)

# Up to the end of the line: the text of the value may contain anything.
_INPUT = re.compile(r"(\[type=[\w.-]+, input_value=).*")


def printable(text: str, limit: int | None = None) -> str:
    r"""Return ``text`` with its control characters escaped (``\n``, ``\x1b``), cut to ``limit`` characters."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1]
        return f"{_UNPRINTABLE.sub(_escaped, text)[: limit - 1]}…"
    escaped = _UNPRINTABLE.sub(_escaped, text)
    return escaped if limit is None or len(escaped) <= limit else f"{escaped[: limit - 1]}…"


def printable_json(text: str) -> str:
    r"""Return JSON with the control characters that it may hold as they are (``\u009b``); it says the same."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}" if match[0] != "\n" else "\n", text)


def without_inputs(text: str) -> str:
    """Return ``text`` without the values that pydantic quotes, where one of its errors is part of another message."""
    return _INPUT.sub(r"\1…", text) if "input_value=" in text else text


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
