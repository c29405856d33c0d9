"""The reason why a stored record can no longer be read, without any of its contents, and what would help.

Exceptions from pydantic, the standard library and users' validators quote values. So a value that does not validate is
described by its place and the rule, one that the codec cannot read by what has changed, and anything else by the class
of the exception.
"""

from __future__ import annotations

from pydantic import ValidationError

from workflow_server.errors import ResumeFailed, WorkflowServerError
from workflow_server.execution.codec import Undecodable
from workflow_server.protocol.explaining import explain

CHAIN = 10
"""Maximum number of chained exceptions that are looked at."""
REMEDY = "deploy code that reads it, as the code did that wrote it"
"""The remedy where no better one is known."""


def unreadable(error: BaseException) -> str:
    """Return the reason in one line of bounded length."""
    found = _telling(error)
    if found is None:
        return f"the stored data no longer fits the code ({type(error).__name__})"
    return explain(found) if isinstance(found, ValidationError) else str(found)


def resume_failure(error: BaseException, what: str = "") -> ResumeFailed:
    """Return the reason as the error of a run; ``what`` says which of its records cannot be read."""
    found = _telling(error)
    if isinstance(found, ResumeFailed):
        return found
    known = found if isinstance(found, Undecodable) else Undecodable("")
    reason = f"{what} cannot be read: {unreadable(error)}" if what else unreadable(error)
    return ResumeFailed(reason, known.remedy, known.stored_name).with_traceback(error.__traceback__)


def why_suspended(error: ResumeFailed) -> str:
    """Return why a run is suspended, and what would help, in one line."""
    return f"it does not fit the code: {error.reason} ({error.remedy or REMEDY})"


def _telling(error: BaseException) -> BaseException | None:
    """Return the exception that says what is wrong; None where none does.

    Readers wrap the exceptions of the code that they call.
    """
    found: BaseException | None = error
    for _ in range(CHAIN):
        if found is None or isinstance(found, (WorkflowServerError, Undecodable, ValidationError)):
            return found
        found = found.__cause__ or found.__context__
    return None
