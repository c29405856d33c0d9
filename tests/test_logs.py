"""The command's log: one record a line, whoever logs what."""

from __future__ import annotations

import logging
import re
import sys

import pytest
from pydantic import BaseModel, ValidationError

from workflow_server.logs import FORMAT, OneLineFormatter

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ")
FORGED = "2026-01-01 00:00:00,000 CRITICAL root: forged"


def formatted(message: str, error: BaseException | None = None) -> list[str]:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("some.module", logging.ERROR, "file.py", 1, message, (), info)
    return OneLineFormatter(FORMAT).format(record).split("\n")


@pytest.mark.parametrize(
    "separator", ["\n", "\r", "\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\n\x1b[1G"]
)
def test_no_message_begins_a_line_that_looks_like_a_record(separator: str) -> None:
    first, *others = formatted(f"said: x{separator}{FORGED}")
    assert RECORD.match(first)
    assert "forged" in "".join([first, *others])
    for line in "\n".join(others).splitlines():
        assert line.startswith("  | ")


def test_nor_does_an_exception_or_a_stack() -> None:
    try:
        raise ValueError(f"x\n{FORGED}\r{FORGED}")  # noqa: TRY301 its traceback is wanted
    except ValueError:
        _, *others = formatted("failed", sys.exc_info()[1])
    assert any("Traceback" in line for line in others)
    assert len("\n".join(others).splitlines()) == len(others)
    assert all(line.startswith("  | ") for line in others)


class Number(BaseModel):
    number: int


def test_no_line_has_a_value_that_pydantic_quotes() -> None:
    with pytest.raises(ValidationError) as refused:
        Number.model_validate({"number": "canary"})
    quoting = RuntimeError(str(refused.value))
    for lines in (formatted(f"a task failed: {refused.value}\nand goes on"), formatted("failed", quoting)):
        assert "canary" not in "".join(lines)
        assert "type=int_parsing, input_value=…" in "".join(lines)


def test_other_scripts_stay_readable_and_a_tab_is_escaped() -> None:
    assert formatted("a\tb é 漢")[0].endswith("some.module: a\\tb é 漢")
