"""Ages and times as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
"""Units of an age."""
AN_AGE = "a number with a unit, as in 30d, 12h, 90m, 45s or 2w"


def seconds_of(age: str) -> float | None:
    """Return the seconds of an age like ``30d``; None where the text is not one."""
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", age, re.ASCII)
    return None if found is None else float(int(found[1]) * SECONDS[found[2]])


def when(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Return an age such as ``2h``, or a time, as a time in UTC, in ISO 8601. Without an offset it is one of this
    machine's zone."""
    if value is None:
        return None
    try:
        seconds = seconds_of(value)
        if seconds is not None:
            return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise click.BadParameter(f"expected {AN_AGE}, or a time as in 2026-01-31T08:00.") from None
