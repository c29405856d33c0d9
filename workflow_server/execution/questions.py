"""The questions that runs ask: the text of an event that is published for somebody to answer."""

from __future__ import annotations

from typing import NamedTuple

from pydantic_core import from_json

from workflow_server.execution.engine import Event
from workflow_server.execution.envelopes import envelope
from workflow_server.protocol.phrases import prompt_of


class Asked(NamedTuple):
    """A question that a step has returned, for the steps that accept an answer."""

    prompt: str | None
    since: float | None
    """When it was asked, by the server's clock."""


def question_text(event: Event | None) -> str | None:
    """Return the question of an event as clients may read it; None where it has none, or cannot be written."""
    if event is None:
        return None
    try:
        return prompt_of(from_json(envelope(event))["value"])
    except BaseException:
        # A serializer of the user's may raise anything: the wait is told all the same.
        return None
