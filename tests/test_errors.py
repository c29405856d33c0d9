"""Errors: their messages, and what of them is stored."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from tests.errors import every_error
from workflow_server import errors
from workflow_server.errors import WorkflowServerError

BASES = frozenset(kind for kind in every_error() if kind.__subclasses__())
WITH_FIELDS = [kind for kind in every_error() if dataclasses.is_dataclass(kind)]
WITHOUT = [kind for kind in every_error() if not dataclasses.is_dataclass(kind) and kind not in BASES]

VALUES: dict[str, Any] = {"str": "some text", "int": 4711, "float": 4711.5}


def told_fields(kind: type[WorkflowServerError]) -> list[str]:
    """Types of the fields that the message tells: those without a default."""
    assert dataclasses.is_dataclass(kind)
    return [str(field.type) for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]


def made(kind: type[WorkflowServerError]) -> WorkflowServerError:
    return kind(*(VALUES[name] for name in told_fields(kind)))


@pytest.mark.parametrize("kind", WITH_FIELDS)
def test_an_error_with_fields_tells_each_of_them(kind: type[WorkflowServerError]) -> None:
    error = made(kind)
    said = str(error)
    assert said != Exception.__str__(error), "it has no message"
    assert said.replace("4,711", "4711").count("4711") + said.count("some text") >= len(told_fields(kind))
    assert "\n" not in said
    assert "  " not in said


@pytest.mark.parametrize("kind", WITHOUT)
def test_an_error_without_fields_says_something(kind: type[WorkflowServerError]) -> None:
    said = str(kind("a message"))
    assert said == "a message" or (len(said) > 10 and said.endswith("."))


@pytest.mark.parametrize("kind", WITH_FIELDS)
def test_an_error_survives_a_copy(kind: type[WorkflowServerError]) -> None:
    copy = pickle.loads(pickle.dumps(made(kind)))
    assert (type(copy), str(copy)) == (kind, str(made(kind)))


@pytest.mark.parametrize(
    "name", ["Unstorable", "ResumeFailed", "StepNotRecorded", "EventNotTaken", "StepInterrupted", "StorageFull"]
)
def test_the_names_that_runs_may_have_stored_stay(name: str) -> None:
    assert getattr(errors, name).__module__ == "workflow_server.errors"
