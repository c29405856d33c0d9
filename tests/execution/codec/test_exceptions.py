"""Exceptions with their attributes, causes and notes, and those of failed attempts."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from workflows.events import StartEvent
from workflows.runtime.types.results import StepWorkerFailed

from tests.execution.codec.roundtrip import assert_kept
from tests.values import classes as c
from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec
from workflow_server.execution.engine import compact_layouts


@pytest.mark.parametrize(
    "error",
    [
        c.ArgumentsError(3, detail="d"),
        c.QuietError(3),
        c.SlottedError(3),
        c.KeywordError(code=3),
        c.DataError([1]),
        c.DataclassError(3),
        c.FileError(2, "none", "f"),
        OSError(2, "none", "a", None, "b"),
        c.GroupError("g", [ValueError(1), c.QuietError(2)]),
        BaseExceptionGroup("g", [KeyboardInterrupt()]),
        UnicodeDecodeError("utf8", b"x", 0, 1, "r"),
        SystemExit(3),
        ImportError("x", name="n", path="p"),
        SyntaxError("bad", ("f", 1, 2, "text", 1, 3)),
        AttributeError("a", name="n", obj=[1]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_is_kept_with_what_it_has(error: BaseException) -> None:
    error.add_note("a note")
    error.__dict__["rows"] = [1, (2,)]
    error.__cause__ = ValueError("cause")
    error.__context__ = KeyError("context")
    assert_kept(error)


def test_a_cause_that_cannot_be_kept_is_left_out() -> None:
    error = c.PlainError("x")
    error.__cause__ = c.PlainError(threading.Lock())
    codec = Codec()
    again = codec.loads(codec.dumps(error))
    assert (again.args, again.__cause__) == (("x",), None)


def failed(error: Exception) -> Any:
    """The exception of a failed attempt, as the journal keeps it."""
    codec = Codec([], compact_layouts())
    return codec.loads(codec.dumps(StepWorkerFailed(exception=error, failed_at=1.0))).exception


def test_an_exception_that_cannot_be_kept_hinders_no_retry() -> None:
    class Local(Exception):
        pass

    error = c.PlainError("text", threading.Lock())
    error.__dict__.update(rows=[1], lock=threading.Lock())
    again: Any = failed(error)
    assert type(again) is c.PlainError
    assert again.__dict__ == {"rows": [1]}
    assert "text" in str(again)
    assert str(failed(Local("local"))) == "local"
    assert failed(c.ArgumentsError(3, detail="d")).detail == "d"


def test_elsewhere_such_an_exception_is_refused() -> None:
    with pytest.raises(Unstorable, match=r"^The value\.error\.args\[1\] cannot be stored: it is of type _thread.lock"):
        Codec().dumps(StartEvent(error=c.PlainError("text", threading.Lock())))
