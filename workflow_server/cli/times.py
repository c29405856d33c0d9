"""Ages and times as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from workflow_server.ages import AN_AGE, seconds_of


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
