"""The document review on the engine alone: what it reports, and what a chat model adds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import document_review as review
import pytest
from aiohttp import web
from workflows.events import Event

from tests.examples.endpoint import chat_endpoint


@pytest.fixture
def proposal(root: Path) -> str:
    return (root / "examples/data/proposal.md").read_text()


async def run_review(text: str, *, approved: bool = True, title: str = "Proposal") -> tuple[list[Event], review.Report]:
    """A whole run, answered when it asks."""
    handler = review.document_review.run(start_event=review.Document(text=text, title=title))
    events: list[Event] = []
    async for event in handler.stream_events():
        events.append(event)
        if isinstance(event, review.ApprovalRequested):
            assert handler.ctx is not None
            handler.ctx.send_event(review.Approval(approved=approved, reviewer="Ada", comment="Fine.\nGo."))
    return events, await handler


async def test_the_report_holds_what_the_text_holds(proposal: str) -> None:
    events, report = await run_review(proposal)

    assert sorted(event.section for event in events if isinstance(event, review.SectionRead)) == [1, 2, 3, 4, 5]
    assert report.approved
    for line in (
        "# Review of Proposal",
        "**Approved by Ada**",
        "> Fine.\n> Go.",
        "| What it costs | 43 |",
        "- paragraph 5 repeats paragraph 3 (100%)",
        "- https://archive.example.org/move/timetable",
        "- 2024-02-14\n- 2025-03-31\n- 2025-11-03\n- 2026-04-20\n- 2026-09-01",
    ):
        assert line in report.report


async def test_the_same_text_gives_the_same_report(proposal: str) -> None:
    assert (await run_review(proposal))[1].report == (await run_review(proposal))[1].report


async def test_a_rejection_is_a_report_too(proposal: str) -> None:
    _, report = await run_review(proposal, approved=False)
    assert not report.approved
    assert "**Rejected by Ada**" in report.report


@pytest.mark.parametrize("text", ["x", "\n\n---\n", "# only a heading"])
async def test_a_text_with_next_to_nothing_in_it_is_reviewed(text: str) -> None:
    _, report = await run_review(text, title="two\nlines | one")
    assert report.report.startswith("# Review of two lines | one\n")


class Model:
    """A chat model's endpoint on this machine, which answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, dict[str, object]]] = []
        self.failures = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.headers.get("Authorization"), await request.json()))
        if len(self.asked) <= self.failures:
            return web.Response(status=500)
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": " The archive moves. "}}]})


@pytest.fixture
async def model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Model]:
    model = Model()
    async with chat_endpoint(model.answer) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/")
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        yield model


async def test_a_chat_model_of_the_environment_adds_its_summary(model: Model, proposal: str) -> None:
    _, report = await run_review(proposal)

    assert "## Summary\n\nThe archive moves.\n" in report.report
    ((authorization, body),) = model.asked
    assert authorization == "Bearer a-key"
    messages = body["messages"]
    assert isinstance(messages, list)
    assert messages[-1]["content"] == proposal[: review.EXCERPT]


async def test_a_model_that_fails_once_is_asked_again(model: Model, proposal: str) -> None:
    model.failures = 1
    _, report = await run_review(proposal)
    assert "The archive moves." in report.report
    assert len(model.asked) == 2


async def test_a_model_that_keeps_failing_does_not_keep_the_report_back(model: Model, proposal: str) -> None:
    model.failures = 100
    _, report = await run_review(proposal)
    assert "No summary: ClientResponseError from the chat model." in report.report
    assert len(model.asked) == 3


async def test_without_a_key_no_model_is_asked(model: Model, proposal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    _, report = await run_review(proposal)
    assert model.asked == []
    assert "Summary" not in report.report
