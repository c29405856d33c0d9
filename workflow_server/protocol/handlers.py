"""The models of handlers, and what is asked of the manager about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.protocol.events import EventEnvelope
from workflow_server.records import Status


class HandlerData(BaseModel):
    """The durable record of one started workflow."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    handler_id: str
    workflow_name: str
    run_id: str | None
    error: str | None
    result: EventEnvelope | None
    status: Status
    started_at: str = Field(description="ISO 8601, UTC.")
    updated_at: str | None
    completed_at: str | None
    suspended: str | None = Field(
        None,
        description="Why a running run does not proceed: its workflow is not registered, it is queued behind "
        "num_concurrent_runs, or it is in quarantine because the process crashed during its steps.",
    )
    held_events: int = Field(0, description="Posted events that are held until a step waits for them.")

    def json_with_result(self, result: str | None) -> tuple[bytes, bytes, bytes]:
        """Return the JSON of this handler, whose own ``result`` is None, with a stored result in its place.

        The result, an envelope as JSON, is not parsed, and is a part of its own: it may be large.
        """
        before, empty, after = self.model_dump_json().encode().partition(_NO_RESULT)
        # JSON escapes quotation marks: no text of the handler contains these.
        return before + empty.removesuffix(b"null"), b"null" if result is None else _encode(result), after


_NO_RESULT = b'"result":null'

ListedHandler = tuple[HandlerData, str | None]
"""A handler of a list without its result, and the result as stored JSON."""


def _encode(result: str) -> bytes:
    return with_finite_numbers(result).encode()


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's ``Idempotency-Key`` with the hash of the body that came with it."""

    key: str
    body_hash: str


@dataclass(frozen=True)
class RunRequest:
    """A request for a new run.

    ``start_event`` is the parsed JSON of the body's ``start_event`` or ``kwargs``, None without either; ``context`` is
    a serialized Context, None without one or for an empty one.
    """

    start_event: object = None
    handler_id: str | None = None
    context: dict[str, Any] | None = None
    key: IdempotencyKey | None = None
