"""Reports of failures: one line that no value breaks, and the user's own frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from workflows.events import UnreconstructedException

from workflow_server.errors import ResumeFailed, StepInterrupted
from workflow_server.execution import failures
from workflow_server.execution.failures import indented, one_line, told, user_traceback


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Login(BaseModel):
    user: str
    password: SecretStr
    tries: int


def failing(depth: int) -> None:
    if depth:
        failing(depth - 1)
    raise KeyError("customer")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("customer"), "KeyError: 'customer'"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("a\r\nb\x1b[2K\u2028c\u202ed\x85"), "ValueError: a\\r\\nb\\x1b[2K\\u2028c\\u202ed\\x85"),
        (ValueError("\ud800 é 漢"), "ValueError: \\ud800 é 漢"),
        (ResumeFailed(reason="why"), "The run could not be resumed: why"),
        (StepInterrupted("SystemExit: 3"), "SystemExit: 3"),
        (UnreconstructedException("gone", original_type="some.module.Own"), "Own: gone"),
        (Mute(), "Mute: its message cannot be read"),
        (
            ExceptionGroup("both", [ValueError("a"), ExceptionGroup("inner", [KeyError("b"), OSError("c")])]),
            "ExceptionGroup: both (ValueError: a; ExceptionGroup: inner (KeyError: 'b'; OSError: c))",
        ),
        (
            BaseExceptionGroup("many", [ValueError(str(number)) for number in range(9)]),
            "ExceptionGroup: many (ValueError: 0; ValueError: 1; ValueError: 2; ValueError: 3; ValueError: 4; 4 more)",
        ),
    ],
)
def test_an_exception_is_told_on_one_line(error: BaseException, line: str) -> None:
    assert told(error) == line


@pytest.mark.parametrize(
    "wrap",
    [
        RuntimeError,
        lambda error: RuntimeError(str(error)),
        lambda error: KeyError("a", error),
        lambda error: RuntimeError(repr(str(error))),
        lambda error: ExceptionGroup(str(error), [RuntimeError(f"{error}")]),
    ],
    ids=["itself", "its text", "beside others", "as a literal", "group"],
)
def test_what_pydantic_quotes_is_left_out_wherever_it_is_quoted(
    wrap: Callable[[Exception], Exception],
) -> None:
    with pytest.raises(ValidationError) as refused:
        Login.model_validate({"user": "carol", "password": "x", "tries": "canary, input_type=str]"})
    error = wrap(refused.value)
    error.add_note(str(refused.value))
    assert "canary" in f"{error} {error.__notes__}"
    try:
        raise error  # noqa: TRY301 its traceback is wanted
    except Exception as raised:
        texts = [told(raised), user_traceback(raised)]
    for text in texts:
        assert "canary" not in text
        assert "tries" in text
        assert "type=int_parsing" in text


def test_what_is_told_has_a_size() -> None:
    assert len(told(ValueError("x" * 10_000_000))) == failures.LONGEST_REASON
    nested: Exception = ValueError("deep")
    for _ in range(100):
        nested = ExceptionGroup("group", [nested, ValueError("y" * 5_000)])
    assert len(told(nested)) == failures.LONGEST_REASON


def test_a_failed_validation_names_places_and_rules_and_no_value() -> None:
    sent = {"user": ["hunter2"], "password": 17_171, "tries": "hunter2\nx"}
    with pytest.raises(ValidationError) as caught:
        Login.model_validate(sent)
    line = told(caught.value)
    assert line.startswith("ValidationError: 'user': Input should be a valid string; 'password': ")
    trace = user_traceback(caught.value)
    for text in (line, trace):
        assert "hunter2" not in text
        assert "17171" not in text


def test_a_traceback_is_cut_to_the_users_frames() -> None:
    async def step() -> None:
        try:
            failing(2)
        except KeyError as error:
            raise ValueError("no\nrow") from error

    async def machinery() -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            await group.create_task(step(), name="step")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(machinery())
    trace = user_traceback(caught.value)
    assert "asyncio/" not in trace
    assert trace.count("in failing") == 3
    assert "KeyError: 'customer'\n" in trace
    assert "was the direct cause of" in trace
    assert "ValueError: no\\nrow" in trace
    assert all(line.startswith("    ") for line in indented(trace).split("\n"))


def test_a_traceback_has_a_size_and_keeps_both_ends() -> None:
    def recurse(number: int) -> None:
        recurse(number + 1)

    with pytest.raises(RecursionError) as caught:
        recurse(0)
    trace = user_traceback(caught.value)
    assert "frames" in trace
    assert trace.endswith("RecursionError: maximum recursion depth exceeded")
    behind = ExceptionGroup("\u2603" * 30_000, [caught.value] * 9)
    with pytest.raises(ValueError, match="x") as large:
        raise ValueError("x") from behind
    large.value.add_note("\u2603" * 1_000)
    assert len(user_traceback(large.value).encode()) <= failures.LONGEST_TRACEBACK


def test_an_exception_from_the_store_has_no_traceback() -> None:
    assert user_traceback(ValueError("read")) == ""


def test_chains_that_bite_their_own_tail_come_to_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    with pytest.raises(ValueError, match="one"):
        raise one
    assert user_traceback(one).endswith("ValueError: one")


def test_a_line_that_is_printable_stays_as_it_is() -> None:
    assert one_line("naïve – 漢字 🙂") == "naïve – 漢字 🙂"
