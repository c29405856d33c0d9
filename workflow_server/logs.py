"""The log of the command: one record a line, and nothing that a value says can look like another record."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from workflow_server.runtime.failures import indented, one_line, told, user_traceback

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


class RecordFormatter(logging.Formatter):
    """Escapes what could move a cursor or hide text, and indents every line of a record but its first."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        first, *others = (one_line(line) for line in super().format(record).replace("\t", "    ").split("\n"))
        return "\n".join([first, *(line if line.startswith("    ") else f"    {line}" for line in others)])


def configure(level: str) -> None:
    """Log to stderr from this level up, what threads and finalizers of workflows raise included."""
    handler = logging.StreamHandler()
    handler.setFormatter(RecordFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])
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
