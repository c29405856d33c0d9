"""The models of a handler's history."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EntryKind = Literal[
    "started",
    "step_queued",
    "step_began",
    "step_ended",
    "attempt_failed",
    "wait_began",
    "wait_answered",
    "wait_timed_out",
    "event_sent",
    "event_published",
    "event_unhandled",
    "idle",
    "released",
    "resumed",
    "suspended",
    "retried",
    "cancel_requested",
    "completed",
    "failed",
    "cancelled",
    "timed_out",
    "other",
]


class HistoryEntry(BaseModel):
    """Something that happened to a handler. Every entry has all keys, in this order."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    cursor: str = Field(description="The place of the entry: as a cursor, it stands for what comes behind it.")
    time: str | None = Field(
        None, description="ISO 8601, UTC, with microseconds. Null for an event that 0.1.0 stored, which noted no times."
    )
    kind: EntryKind
    run_id: str
    step: str | None = Field(None, description="The step that it is about.")
    event: str | None = Field(
        None,
        description="The class of the event that it is about: that a step began with, that is waited for, or that was "
        "sent or published.",
    )
    sequence: int | None = Field(None, description="The sequence of the event in the log of which this tells.")
    worker: str | None = Field(
        None, description="Tells executions of a step apart that run side by side: a begin and its end have the same."
    )
    attempt: int | None = Field(None, description="The attempt of a step that failed, 1 for the first.")
    duration: float | None = Field(None, description="Seconds that the step took, or that was waited.")
    returned: str | None = Field(None, description="The class of what a step returned; null where it did not return.")
    until: str | None = Field(
        None, description="When the next attempt begins, the wait times out, or the released run is woken."
    )
    since: str | None = Field(
        None,
        description="Of a resume after a crash or a restart, the last sign of life of the server before: it gives one "
        "every five seconds, and at a stop. Null where that is not known.",
    )
    error: str | None = Field(None, description="The error in one line.")
    traceback: str | None = Field(
        None,
        description="The frames of the workflow's own code, at most 4,000 characters. Null where they are the same as "
        "those of the attempt that failed before.",
    )
    requirements: dict[str, Any] | None = Field(
        None, description="Fields that the awaited event must have, as in waiting_for of the handler."
    )
    question: str | None = Field(None, description="The class of the event that was published with the wait.")
    reason: str | None = Field(
        None, description="Of a resume crash, restart or release; of a suspension its reason in one line."
    )
    by: str | None = Field(None, description="The name of the token that asked for it.")
    value: dict[str, Any] | None = Field(
        None,
        description="With include=value, the value of an event, as in the stream; of started, the whole envelope of "
        "the start event, null where it is not kept, cannot be read any more, or where the workflow is not "
        "registered. Otherwise null.",
    )

    def to_json(self, value: str | None) -> str:
        """Return the entry as JSON, with this as its value: JSON that is not parsed, or None."""
        text = self.model_dump_json(exclude={"value"})
        return f'{text[:-1]},"value":{value or "null"}}}'


class HistoryPageData(BaseModel):
    """A page of a history."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    history: list[HistoryEntry]
    next_cursor: str | None = Field(description="The cursor of the next page, null after the last one.")
