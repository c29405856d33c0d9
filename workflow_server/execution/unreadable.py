"""The reason why something that is stored cannot be read any more, without a word of what it holds.

What exceptions say of it quotes values: pydantic, the standard library and the validators of users do. So of a value
that does not validate its place and rule are told, of one that the codec does not read what has changed, and of
everything else the class of the exception.
"""

from __future__ import annotations

from pydantic import ValidationError

from workflow_server.errors import WorkflowServerError
from workflow_server.execution.codec import Undecodable
from workflow_server.protocol.explaining import explain

CHAIN = 10
"""Exceptions behind an exception that are looked at."""


def unreadable(error: BaseException) -> str:
    """Return the reason in one line of bounded length."""
    found: BaseException | None = error
    for _ in range(CHAIN):
        if isinstance(found, (WorkflowServerError, Undecodable)):
            return str(found)
        if isinstance(found, ValidationError):
            return explain(found)
        if found is None:
            break
        # Who reads for others wraps what they raised.
        found = found.__cause__ or found.__context__
    return f"what is stored does not fit the code any more ({type(error).__name__})"
