"""The models of handlers and of what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from workflow_server.protocol.client_json import with_finite_numbers
from workflow_server.protocol.events import EventEnvelope
from workflow_server.records import Status


class HandlerData(BaseModel):
    """The durable record of one started workflow; times are ISO-8601 UTC.

    ``suspended`` says why a running run does not go on at present, where that is so: its workflow is not registered,
    it is queued behind ``num_concurrent_runs``, or it is on probation after it was running when the process died.
    ``held_events`` counts the posted events that it keeps until a step waits for them.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    handler_id: str
    workflow_name: str
    run_id: str | None
    error: str | None
    result: EventEnvelope | None
    status: Status
    started_at: str
    updated_at: str | None
    completed_at: str | None
    suspended: str | None = None
    held_events: int = 0


@dataclass(frozen=True)
class ListedHandler:
    """A handler of a list: its own ``result`` is None, and the JSON of the result's envelope stands beside it."""

    handler: HandlerData
    result: str | None

    def to_json(self) -> tuple[bytes, bytes, bytes]:
        """The same JSON as that of a ``HandlerData`` with this result, in parts: the result may be large."""
        before, empty, after = self.handler.model_dump_json().encode().partition(_NO_RESULT)
        # No text of the handler has these quotation marks: JSON escapes them.
        result = b"null" if self.result is None else with_finite_numbers(self.result).encode()
        return before + empty.removesuffix(b"null"), result, after


_NO_RESULT = b'"result":null'


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's ``Idempotency-Key`` and the hash of the body that came with it."""

    key: str
    body_hash: str


@dataclass(frozen=True)
class RunRequest:
    """The request of a client for a new run.

    ``start_event`` is the parsed JSON of the body's ``start_event`` (or ``kwargs``), None where there is none;
    ``context`` a serialized Context, None where there is none or an empty one.
    """

    start_event: object = None
    handler_id: str | None = None
    context: dict[str, Any] | None = None
    key: IdempotencyKey | None = None
