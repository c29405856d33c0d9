"""The log of the command: one line a record, whatever clients and workflows write into it.

The lines of a traceback begin with ``  | ``, so that none of them can be taken for a record; the message of an
exception is one of these lines.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from workflow_server.execution.failures import indented, told, user_traceback
from workflow_server.printable import printable, without_inputs
from workflow_server.protocol.explaining import explain

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MARGIN = "  | "
INDENTED = "\n    "
"""The start of a line below a message of this server, such as a line of a step's traceback."""
MAX_MESSAGE = 10_000
"""Characters of a log message, or of an exception's."""
MAX_EXCEPTIONS = 50
"""Exceptions shown with one record, members of groups and causes included."""

logger = logging.getLogger(__name__)


def set_up_logging(level: str) -> None:
    """Log to stderr from ``level`` up, including exceptions in threads and finalizers of workflows."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


def _log_thread(failed: Any) -> None:
    if failed.exc_value is None or failed.exc_type is SystemExit:
        return
    name = failed.thread.name if failed.thread is not None else "unknown"
    logger.error("Thread %s failed: %s\n%s", name, told(failed.exc_value), indented(user_traceback(failed.exc_value)))


def _log_unraisable(failed: Any) -> None:
    if failed.exc_value is not None:
        logger.error("%s: %s", failed.err_msg or "Exception ignored", told(failed.exc_value))


ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLineFormatter(logging.Formatter):
    """Formats records with control characters escaped, and without values that did not validate."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, and its traceback in lines that cannot be taken for records."""
        # The formatter of another handler may have left its own text here.
        record.exc_text = None
        try:
            return super().format(record)
        finally:
            record.exc_text = None

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line itself, and the lines that this server has put below it."""
        own = record.name.startswith("workflow_server.")
        message = without_inputs(record.message)
        line, *below = message.split(INDENTED) if own else [message]
        record.message = printable(line, MAX_MESSAGE)
        return "\n".join(
            [super().formatMessage(record), *(f"{MARGIN}{printable(text, MAX_MESSAGE)}" for text in below)]
        )

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802
        """Return the lines of a traceback."""
        lines = _told(ei[1], set()) if ei[1] is not None else ()
        return "\n".join(f"{MARGIN}{line}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return the lines of a stack."""
        return "\n".join(f"{MARGIN}{printable(line)}" for line in stack_info.splitlines())


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    """Yield what Python prints of an exception, with one line for each message."""
    if id(error) in seen or len(seen) >= MAX_EXCEPTIONS:
        return
    seen.add(id(error))
    earlier, link = _earlier(error)
    if earlier is not None and id(earlier) not in seen:
        yield from _told(earlier, seen)
        yield link
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
    for frame in traceback.format_tb(error.__traceback__):
        yield from map(printable, frame.splitlines())
    yield printable(_said(error), MAX_MESSAGE)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from (f"  {line}" for line in _told(inner, seen))


def _earlier(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, "The above exception was the direct cause of the following exception:"
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, "During handling of the above exception, another exception occurred:"
    return None, ""


def _said(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        # Its own text quotes values.
        return f"{type(error).__name__}: {explain(error)}"
    return without_inputs("".join(traceback.format_exception_only(error)).rstrip("\n"))
