"""The models of request bodies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

MOST_TAGS = 20
LONGEST_TAG = 100
"""Characters."""


def _one_line(tag: str) -> str:
    if not tag.isprintable() or tag != tag.strip():
        raise PydanticCustomError("tag", "Input should be one line of text without spaces around it")
    return tag


Tag = Annotated[str, Field(min_length=1, max_length=LONGEST_TAG), AfterValidator(_one_line)]


class RunBody(BaseModel):
    """A request for a run. Every key is optional, and an empty body means ``{}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_event: dict[str, Any] | str | None = Field(
        None, description="The start event: its fields, its envelope, or either as a string of JSON."
    )
    fields_by_old_name: dict[str, Any] | None = Field(
        None,
        validation_alias=AliasChoices("kwargs"),
        description="Old name of start_event, for its fields only. Send one of the two.",
    )
    context: dict[str, Any] | None = Field(
        None,
        description="A serialized Context. Accepted only with the setting accept_context, and not together with a "
        "handler to continue.",
    )
    handler_id: str | None = Field(
        None,
        description="The completed handler of the same workflow to continue. With the setting accept_handler_ids, an "
        "unused id becomes that of the new handler.",
    )
    tags: list[Tag] | None = Field(
        None,
        max_length=MOST_TAGS,
        description="Tags to find the handler by. A handler that is continued without this keeps its own.",
    )


class EventBody(BaseModel):
    """A request to send an event to a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: dict[str, Any] | str = Field(
        description='`{"type": "ClassName", "value": {…}}`, or that as a string of JSON.'
    )
    step: str | None = Field(None, description="Deliver the event to this step only.")
    hold: bool | None = Field(
        None, description="If no step takes the event now, hold it until the next wait for its type begins."
    )


class RetryBody(BaseModel):
    """A request to retry a run. Every key is optional, and an empty body means ``{}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_step: str | None = Field(
        None,
        description="Go back to the last beginning of this step. Without it, the steps begin again that were in "
        "progress when the run ended.",
    )
    fork: bool | None = Field(None, description="Go on in a new handler, and leave this one as it is.")
    handler_id: str | None = Field(
        None, description="With fork and the setting accept_handler_ids: the id of the new handler."
    )
    tags: list[Tag] | None = Field(
        None, max_length=MOST_TAGS, description="Tags in place of those that the handler has."
    )


class SessionBody(BaseModel):
    """A request for a session. An empty body means that the token is in ``Authorization``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: SecretStr | None = Field(None, max_length=1_000, description="The token.")
