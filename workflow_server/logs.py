"""The log of the command: one line a record, whatever clients and workflows write into it.

As text, the lines of a traceback begin with ``  | ``, so that none of them can be taken for a record; the message of an
exception is one of these lines. As JSON, a record is one object in one line, with its traceback.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from workflow_server.execution.containment import executing
from workflow_server.execution.failures import indented, told, user_traceback
from workflow_server.log_context import principal, request_id, subject
from workflow_server.printable import printable, without_inputs
from workflow_server.protocol.explaining import explain
from workflow_server.settings import LogFormat
from workflow_server.web.http_server.access_log import Access

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
MARGIN = "  | "
INDENTED = "\n    "
"""The start of a line below a message of this server, such as a line of a step's traceback."""
MAX_MESSAGE = 10_000
"""Characters of a log message, or of an exception's."""
MAX_EXCEPTIONS = 50
"""Exceptions shown with one record, members of groups and causes included."""

logger = logging.getLogger(__name__)


def set_up_logging(level: str, form: LogFormat = "text") -> None:
    """Log to stderr from ``level`` up, including exceptions in threads and finalizers of workflows."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else OneLineFormatter(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


def as_json_line(message: str) -> str:
    """Return a line that the command prints as it would be logged as JSON."""
    return JsonFormatter().format(logging.LogRecord("workflow_server", logging.INFO, "", 0, message, (), None))


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
        record.message, below = _lines(record.name, record.message)
        return "\n".join([super().formatMessage(record), *(f"{MARGIN}{text}" for text in below)])

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802
        """Return the lines of a traceback."""
        lines = _told(ei[1], set()) if ei[1] is not None else ()
        return "\n".join(f"{MARGIN}{line}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return the lines of a stack."""
        return "\n".join(f"{MARGIN}{printable(line)}" for line in stack_info.splitlines())


class JsonFormatter(logging.Formatter):
    """Formats each record as one JSON object in one line of ASCII.

    ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message`` are always there; ``request_id``, ``token`` (its
    name), ``handler_id``, ``run_id``, ``step`` and ``traceback`` where they are known. Texts of others are as safe as
    those of ``OneLineFormatter``. A record of the access log has the fields of ``Access``, too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        message, below = _lines(record.name, _message(record))
        if record.exc_info and record.exc_info[1] is not None:
            below += _told(record.exc_info[1], set())
        if record.stack_info:
            below += map(printable, record.stack_info.splitlines())
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            **_context(),
            **{name: value for name in IDS if isinstance(value := getattr(record, name, None), str)},
            "traceback": "\n".join(below) or None,
        }
        if isinstance(record.msg, Access):
            fields |= record.msg._asdict()
        return json.dumps({name: value for name, value in fields.items() if value is not None})


IDS = ("handler_id", "run_id", "step")
"""Attributes that the ``extra`` of a record may have, where it is about a run that its caller is not part of."""


def _context() -> dict[str, str | None]:
    run, execution = subject.get(), executing.get()
    return {
        "request_id": request_id.get(),
        "token": principal.get(),
        "handler_id": None if run is None else run.handler_id,
        "run_id": None if run is None else run.run_id,
        "step": None if execution is None else execution.step,
    }


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # Its arguments do not fit, or cannot be shown. logging would print all of them, in lines of its own.
        message = record.msg if isinstance(record.msg, str) else f"A {type(record.msg).__name__}"
        return f"{message} (what was logged with it cannot be shown)"


def _lines(logger_name: str, message: str) -> tuple[str, list[str]]:
    """Return the message in one line, and the lines that this server has put below it."""
    message = without_inputs(message)
    line, *below = message.split(INDENTED) if logger_name.startswith("workflow_server.") else [message]
    return printable(line, MAX_MESSAGE), [printable(text, MAX_MESSAGE) for text in below]


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
