"""The bodies that clients send."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field


class RunBody(BaseModel):
    """The run that is asked for. Every key is optional, and no body at all is ``{}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_event: dict[str, Any] | str | None = Field(
        None, description="The start event: its fields, its envelope, or a string that holds either as JSON."
    )
    fields_by_old_name: dict[str, Any] | None = Field(
        None,
        validation_alias=AliasChoices("kwargs"),
        description="The old name for the start event's fields: one of the two.",
    )
    context: dict[str, Any] | None = Field(
        None,
        description="A serialized Context; only where the server was started to accept it, and not beside a handler to "
        "continue.",
    )
    handler_id: str | None = Field(
        None,
        description="Continue this completed handler of the same workflow; where the server accepts ids of clients, "
        "one that no handler has is that of a new one.",
    )


class EventBody(BaseModel):
    """An event for a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: dict[str, Any] | str = Field(
        description='`{"type": "ClassName", "value": {…}}`, or a string that holds it as JSON.'
    )
    step: str | None = Field(None, description="Give the event to this step only.")
    hold: bool | None = Field(
        None, description="Where nobody takes the event now, keep it until the next wait for its type begins."
    )
