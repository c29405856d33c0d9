"""The subject of a log record, where it is known: the request that is answered, or the run that goes on.

Tasks inherit both from the task that created them, as they do every context variable.
"""

from __future__ import annotations

import secrets
from contextvars import ContextVar
from itertools import count
from typing import NamedTuple


class Subject(NamedTuple):
    """The run that the caller is part of."""

    handler_id: str
    run_id: str


request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that the caller answers; None in a run, which outlives the request that started it."""

principal: ContextVar[str | None] = ContextVar("principal", default=None)
"""The name of the token of the request that the caller answers, or works for; None in a run, and without tokens."""

subject: ContextVar[Subject | None] = ContextVar("subject", default=None)

_PROCESS = secrets.token_hex(4)
_numbers = count(1)


def begin_request() -> None:
    """Give the request that the caller answers an id: no other of this or of another process has the same."""
    request_id.set(f"{_PROCESS}-{next(_numbers):x}")
    principal.set(None)


def begin_run(handler_id: str, run_id: str) -> None:
    """Note that the caller and the tasks that it creates from now on are part of this run."""
    request_id.set(None)
    principal.set(None)
    subject.set(Subject(handler_id, run_id))
