"""The envelope in which events are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workflow_server.protocol.client_json import to_client_json

UNREADABLE_RESULT = "The run completed, but its result cannot be read: it is damaged"
"""The error of a handler whose stored result is no envelope."""


class EventEnvelope(BaseModel):
    """An event as clients read it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    value: dict[str, Any]
    type: str
    types: list[str] | None = Field(
        None, description="The event classes between the event's own and Event, nearest first; null without any."
    )
    qualified_name: str | None = None

    @classmethod
    def from_event(cls, event: BaseModel) -> EventEnvelope:
        """Wrap an engine event.

        Raises:
            PydanticSerializationError, ValueError, RecursionError: the event has a value that JSON cannot express.
        """
        kind = type(event)
        types = event_base_names(kind)
        return cls(
            value=json.loads(to_client_json(event)),
            type=kind.__name__,
            types=list(types) or None,
            qualified_name=f"{kind.__module__}.{kind.__name__}",
        )


class PublishedEvent(EventEnvelope):
    """An event as it is read from its handler's log."""

    time: str | None = Field(
        description="When the event was published: ISO 8601, UTC, with microseconds; never earlier than the event "
        "before it. Null for an event that was stored by 0.1.0, which noted no times."
    )


def time_as_json(time: float | None) -> str:
    """Return the time of an event as JSON, for seconds since the epoch; null for None, or for a time that is out of the
    calendar's range. All have microseconds and the same offset, so that their texts sort as the times do."""
    if time is None:
        return "null"
    try:
        seconds, microseconds = divmod(round(time * 1_000_000), 1_000_000)
        return f'"{_second(seconds)}.{microseconds:06d}+00:00"'
    except (OverflowError, ValueError, OSError):
        # A damaged row.
        return "null"


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    """Return the text of a full second, which many events share."""
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()


def read_result(data: str | None) -> tuple[EventEnvelope | None, str | None]:
    """Return the envelope of a stored result and None; or None and why it cannot be read, as a sentence for clients."""
    if data is None:
        return None, None
    try:
        return EventEnvelope.model_validate_json(data), None
    except ValidationError:
        return None, UNREADABLE_RESULT


@lru_cache(maxsize=4096)
def event_base_names(kind: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the event classes between ``kind`` and ``Event``, nearest first."""
    names: list[str] = []
    for base in kind.__mro__[1:]:
        if base.__name__ == "Event" and base.__module__ == "workflows.events":
            break
        if issubclass(base, BaseModel):
            names.append(base.__name__)
    return tuple(names)
