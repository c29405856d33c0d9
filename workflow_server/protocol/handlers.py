"""The models of handlers, and what is asked of the manager about them."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring as _quoted
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from workflow_server.protocol.events import UNREADABLE_RESULT, EventEnvelope
from workflow_server.records import NowState, Status, StoredHandler


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
        description="Why a running run does not proceed: its workflow is not registered, it does not fit the "
        "workflow's code, it is queued behind num_concurrent_runs, or it is in quarantine because the process crashed "
        "during its steps.",
    )
    code_version: str | None = Field(
        None,
        description="The version of the workflow's code with which the run was started; null for one that was started "
        "before versions were noted.",
    )
    tags: list[str] = Field([], description="Tags that were given at the start.")
    held_events: int = Field(0, description="Posted events that are held until a step waits for them.")


class RunningStepData(BaseModel):
    """An execution of a step."""

    model_config = ConfigDict(frozen=True)

    step: str
    since: str | None = Field(description="When it began, ISO 8601, UTC; null where it is about to begin.")


class OpenWaitData(BaseModel):
    """An event that a run waits for."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    step: str
    event: str = Field(description="The class of the event.")
    requirements: dict[str, Any] = Field(
        description="Fields that the event must have, with their values; of a value that is long or that JSON cannot "
        "express, only the type is told, in parentheses."
    )
    question: str | None = Field(description="The class of the event that was published with the wait.")
    deadline: str | None = Field(description="When the wait times out, ISO 8601, UTC; null where it does not.")
    since: str | None = Field(None, description="When the wait began, ISO 8601, UTC; null where it is not known.")
    prompt: str | None = Field(
        None,
        description="The question as text, at most 300 characters: the field prefix, question, message, prompt or msg "
        "of the event that was published with the wait, or its only text, or else its fields as JSON.",
    )


class PendingRetryData(BaseModel):
    """A step that has failed and will begin again."""

    model_config = ConfigDict(frozen=True)

    step: str
    attempt: int = Field(description="The attempt that comes: 2 for the first retry.")
    at: str | None = Field(description="When it begins, ISO 8601, UTC.")


class HandlerDetails(HandlerData):
    """A handler with where its run stands."""

    running_steps: list[RunningStepData] | None = Field(
        description="The steps that run, one entry for each execution, at most 100. Null, as the next two, "
        "where it is not known: the run is not in memory, and was not waiting when it left."
    )
    waiting_for: list[OpenWaitData] | None = Field(
        description="What the run waits for, at most 100 waits: those of wait_for_event or, where nothing else can "
        "happen, the steps that accept a HumanResponseEvent."
    )
    retrying_steps: list[PendingRetryData] | None = Field(description="The steps that begin again later, at most 100.")
    stalled: bool = Field(
        description="Nothing can happen in the run any more: no step runs, nothing is waited for or on its way. Only "
        "its timeout, an event from a client or a task that a step has left behind changes that."
    )


class NowData(BaseModel):
    """The present of a handler in a list."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    state: NowState | None = Field(
        description="What the run does: it works (running), waits for an answer (waiting), waits outside of memory for "
        "something else (released), waits for its turn (queued), does not proceed (suspended), or nothing can happen "
        "in it any more (stalled). Null where it has ended, or is about to."
    )
    running_steps: list[RunningStepData] | None = Field(
        description="As in GET /handlers/{handler_id}, at most 10, as in the next two."
    )
    waiting_for: list[OpenWaitData] | None
    retrying_steps: list[PendingRetryData] | None
    running_count: int = Field(0, description="The number of steps that run, up to 100.")
    waiting_count: int = Field(0, description="The number of waits, up to 100.")
    retrying_count: int = Field(0, description="The number of steps that begin again later, up to 100.")
    summary: str | None = Field(
        description="The result of a completed run in a phrase, at most 200 characters: the result of a StopEvent, "
        "else its fields as JSON."
    )


class HandlerInList(HandlerData):
    """A handler in a list."""

    now: NowData | None = Field(None, description="With include=now; absent otherwise.")


class ListedHandler(NamedTuple):
    """The JSON of a handler in a list, around its result: that stays as it is stored, and is not parsed."""

    before: str
    result: str | None
    after: str

    @classmethod
    def of(
        cls,
        handler: StoredHandler,
        times: tuple[str, str, str],
        suspended: str | None,
        held_events: int,
        now: NowData | None = None,
    ) -> ListedHandler:
        """Return what ``HandlerInList`` has as JSON, put together from texts: a model for each takes four times as
        long.

        ``times``: when it started, was updated and completed, as JSON.
        """
        started_at, updated_at, completed_at = times
        present = "" if now is None else f',"now":{now.model_dump_json()}'
        error = UNREADABLE_RESULT if handler.damaged else handler.error
        return cls(
            f'{{"handler_id":{_quoted(handler.handler_id)},"workflow_name":{_quoted(handler.workflow_name)},'
            f'"run_id":{_json(handler.run_id)},"error":{_json(error)},"result":',
            handler.result,
            f',"status":"{handler.status}","started_at":{EMPTY if started_at == NULL else started_at},'
            f'"updated_at":{updated_at},"completed_at":{completed_at},"suspended":{_json(suspended)},'
            f'"code_version":{_json(handler.code_version)},"tags":{handler.tags or NO_TAGS},'
            f'"held_events":{held_events}{present}}}',
        )


NULL, EMPTY, NO_TAGS = "null", '""', "[]"


def _json(text: str | None) -> str:
    return NULL if text is None else _quoted(text)


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
    tags: tuple[str, ...] | None = None
    """None where nothing is said of them: a handler that is continued then keeps its own."""
    key: IdempotencyKey | None = None
    by: str | None = None
    """The name of the client's token, where it has one."""


@dataclass(frozen=True)
class RetryRequest:
    """A request to take up a run again that failed or was cancelled."""

    from_step: str | None = None
    """The step with whose last beginning it goes on; None for where it ended."""
    fork: bool = False
    """It goes on in a new handler, and the one that it was in stays as it is."""
    handler_id: str | None = None
    """The id of the new handler, None for one that the server makes."""
    tags: tuple[str, ...] | None = None
    """None for those of the handler."""
    key: IdempotencyKey | None = None
    by: str | None = None
    """The name of the client's token, where it has one."""
