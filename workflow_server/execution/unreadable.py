"""The reason why a stored record can no longer be read, without any of its contents.

Exceptions from pydantic, the standard library and users' validators quote values. So a value that does not validate is
described by its place and the rule, one that the codec cannot read by what has changed, and anything else by the class
of the exception.
"""

from __future__ import annotations

from pydantic import ValidationError

from workflow_server.errors import WorkflowServerError
from workflow_server.execution.codec import Undecodable
from workflow_server.protocol.explaining import explain

CHAIN = 10
"""Maximum number of chained exceptions that are looked at."""


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
        # Readers wrap the exceptions of the code that they call.
        found = found.__cause__ or found.__context__
    return f"the stored data no longer fits the code ({type(error).__name__})"
