"""Each record of the log is one line, and nothing that somebody else wrote can be taken for another."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from workflow_server.logs import FORMAT, MARGIN, OneLineFormatter

FORGED = "harmless\n2026-01-01 00:00:00,000 CRITICAL workflow_server: forged\x1b[2J\r\u2028\x85"


def logged(message: str, *arguments: object, error: BaseException | None = None, stack: bool = False) -> list[str]:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("a.logger", logging.ERROR, "x.py", 1, message, arguments, info)
    record.stack_info = FORGED if stack else None
    return OneLineFormatter(FORMAT).format(record).split("\n")


def raised(failing: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 any
        failing()
    return caught.value


def test_a_message_is_one_bounded_line_without_control_characters() -> None:
    (line,) = logged("field %s", FORGED)
    assert line.isprintable()
    assert line.endswith(r"field harmless\n2026-01-01 00:00:00,000 CRITICAL workflow_server: forged\x1b[2J\r\u2028\x85")
    assert len(logged("x" * 1_000_000)[0]) < 11_000


def test_only_lines_of_this_server_stand_under_a_message() -> None:
    text = "It failed: x\n    Traceback\n      File x\ny"
    record = logging.LogRecord("workflow_server.execution.session", logging.ERROR, "x.py", 1, text, (), None)
    assert OneLineFormatter("%(message)s").format(record).split("\n") == [
        "It failed: x",
        f"{MARGIN}Traceback",
        rf"{MARGIN}  File x\ny",
    ]
    assert len(logged(text)) == 1


class Secret(BaseModel):
    pin: int


def fail() -> None:
    raise ValueError(FORGED)


def invalid() -> None:
    Secret.model_validate({"pin": "-".join(["canary", "7f3"])})


def fail_twice() -> None:
    # What pydantic raises has no context of its own.
    try:
        fail()
    except ValueError:
        error = raised(invalid)
        raise error  # noqa: B904


def fail_together() -> None:
    raise BaseExceptionGroup("many", [KeyError(FORGED), raised(fail_twice)])


@pytest.mark.parametrize("failing", [fail_twice, fail_together])
def test_a_traceback_forges_no_record_and_quotes_no_value(
    failing: Callable[[], object],
) -> None:
    first, *rest = logged("It failed", error=raised(failing))
    assert first.endswith("It failed")
    assert all(line.startswith(MARGIN) and line.isprintable() for line in rest)
    text = "\n".join(rest)
    assert text.count("forged") == text.count(r"harmless\n2026-01-01") > 0
    assert "canary-7f3" not in text
    assert "'pin': Input should be a valid integer" in text
    assert "Traceback (most recent call last):" in text
    assert "in fail_twice" in text
    assert "raise ValueError(FORGED)" in text
    assert "During handling of the above exception" in text


def test_exceptions_in_a_circle_and_a_stack_are_told_to_their_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert [line for line in logged("x", error=one) if "ValueError" in line] == [
        f"{MARGIN}ValueError: other",
        f"{MARGIN}ValueError: one",
    ]
    chain: BaseException = ValueError("first")
    for number in range(sys.getrecursionlimit()):
        following = ValueError(str(number))
        following.__cause__ = chain
        chain = following
    assert len(logged("x", error=chain)) < 200
    assert all(line.startswith(MARGIN) for line in logged("x", stack=True)[1:])
