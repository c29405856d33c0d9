r"""Review a document: sections analysed side by side, then a human decides, then a report.

Start the server in one terminal (``workflow-server serve examples/document_review.py``), and in another send it a text
of your own, or this one:

    $ HANDLER=$(python3 -c 'import json, sys; print(json.dumps({"start_event": {"text": sys.stdin.read()}}))' \
        < examples/data/proposal.md \
        | curl -s -H 'Content-Type: application/json' --data-binary @- \
            localhost:8080/workflows/document_review/run-nowait \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["handler_id"])')

Follow it for a few seconds: a line for each section, and then the question. From now on it waits for you, over any
number of restarts of the server.

    $ curl -sN --max-time 3 "localhost:8080/events/$HANDLER?sse=false&after_sequence=-1"

Answer, wait for the end, and read the report:

    $ curl -s -H 'Content-Type: application/json' localhost:8080/events/$HANDLER \
        -d '{"event": {"type": "Approval", "value": {"approved": true, "reviewer": "Ada", "comment": "Ship it."}}}'
    $ curl -sN "localhost:8080/events/$HANDLER?sse=false&after_sequence=-1" | tail -n 1
    $ curl -s localhost:8080/results/$HANDLER \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["result"]["report"])'

With OPENAI_BASE_URL and OPENAI_API_KEY set (and OPENAI_MODEL, if you like), a chat model adds a summary; the beginning
of the document is then sent there. Without them nothing leaves this machine.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import text_analysis as analysis
from chat_model import ChatModel, ModelUnavailableError
from pydantic import BaseModel, Field
from review_report import Findings, render_findings, render_report
from workflows import Context, Workflow, catch_error, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from workflows.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_exponential

EXCERPT = 12_000
"""Maximum characters of a document that a chat model is given."""


class Document(StartEvent):
    """The text to review, Markdown or plain."""

    text: str = Field(min_length=1)
    title: str = "Document"


class SectionFound(Event):
    """One section, to be analysed."""

    index: int
    heading: str
    text: str


class SectionAnalysed(Event):
    """Findings of one section."""

    index: int
    heading: str
    counts: analysis.Counts
    candidates: dict[str, int]
    sketches: list[list[int]]
    links: list[str]
    dates: list[str]


class SectionRead(Event):
    """Progress for readers of the stream: this section is done."""

    section: int
    of: int
    heading: str
    words: int
    reading_ease: float | None


class AnalysisReady(Event):
    """All sections are done."""


class ApprovalRequested(InputRequiredEvent):
    """The question to the human: are these findings to be published?"""

    question: str
    findings: str


class Approval(HumanResponseEvent):
    """The human's answer."""

    approved: bool
    reviewer: str = "somebody"
    comment: str = ""


class ApprovalTooEarly(Event):
    """An answer came before the question, and was not accepted."""


class Report(StopEvent):
    """The report, as Markdown."""

    approved: bool
    report: str


class Review(BaseModel):
    """State of a run between its steps."""

    title: str = ""
    sections: int = 0
    excerpt: str = ""
    findings: Findings | None = None


class DocumentReview(Workflow):
    """Split, analyse side by side, summarise if there is a model, ask, report."""

    @step
    async def split(self, ctx: Context[Review], ev: Document) -> list[SectionFound]:
        sections = await asyncio.to_thread(analysis.split_sections, ev.text)
        async with ctx.store.edit_state() as review:
            review.title, review.sections, review.excerpt = ev.title, len(sections), ev.text[:EXCERPT]
        return [
            SectionFound(index=index, heading=section.heading, text=section.text)
            for index, section in enumerate(sections, start=1)
        ]

    @step(num_workers=4)
    async def analyse(self, ctx: Context[Review], ev: SectionFound) -> SectionAnalysed:
        result = await asyncio.to_thread(_analyse, ev)
        ctx.write_event_to_stream(
            SectionRead(
                section=ev.index,
                of=(await ctx.store.get_state()).sections,
                heading=ev.heading,
                words=result.counts.words,
                reading_ease=analysis.reading_ease(result.counts),
            )
        )
        return result

    @step
    async def combine(self, ctx: Context[Review], ev: list[SectionAnalysed]) -> AnalysisReady:
        findings = await asyncio.to_thread(_combine, sorted(ev, key=lambda section: section.index))
        async with ctx.store.edit_state() as review:
            review.findings = findings
        return AnalysisReady()

    @step(
        retry_policy=retry_policy(
            retry=retry_if_exception_type(ModelUnavailableError),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_attempt(3),
        )
    )
    async def summarise(
        self,
        ctx: Context[Review],
        ev: AnalysisReady,  # noqa: ARG002
    ) -> ApprovalRequested:
        review = await ctx.store.get_state()
        model = ChatModel.from_environment()
        if model is None:
            return _question(review)
        summary = await model.ask("Summarise this document in at most three sentences.", review.excerpt)
        return _question(await _remember_summary(ctx, summary))

    @catch_error(for_steps=["summarise"])
    async def go_on_without_summary(self, ctx: Context[Review], ev: StepFailedEvent) -> ApprovalRequested:
        return _question(await _remember_summary(ctx, f"No summary: {ev.exception}."))

    @step
    async def publish(self, ctx: Context[Review], ev: Approval) -> Report | None:
        review = await ctx.store.get_state()
        if review.findings is None:
            ctx.write_event_to_stream(ApprovalTooEarly())
            return None
        verdict = f"{'Approved' if ev.approved else 'Rejected'} by {ev.reviewer}"
        return Report(
            approved=ev.approved, report=render_report(review.title, verdict, ev.comment.strip(), review.findings)
        )


async def _remember_summary(ctx: Context[Review], summary: str) -> Review:
    async with ctx.store.edit_state() as review:
        if review.findings is not None:
            review.findings = review.findings.model_copy(update={"summary": summary})
    return await ctx.store.get_state()


def _question(review: Review) -> ApprovalRequested:
    assert review.findings is not None
    return ApprovalRequested(
        question=f"Publish the review of '{review.title}'? Answer with an Approval event.",
        findings=render_findings(review.findings),
    )


def _analyse(ev: SectionFound) -> SectionAnalysed:
    return SectionAnalysed(
        index=ev.index,
        heading=ev.heading,
        counts=analysis.count(ev.text),
        candidates=dict(analysis.candidate_phrases(ev.text)),
        sketches=[analysis.sketch(paragraph) for paragraph in analysis.paragraphs(ev.text)],
        links=analysis.links(ev.text),
        dates=analysis.dates(ev.text),
    )


def _combine(sections: list[SectionAnalysed]) -> Findings:
    counts = analysis.total(section.counts for section in sections)
    candidates: Counter[str] = Counter()
    for section in sections:
        candidates.update(section.candidates)
    return Findings(
        words=counts.words,
        sentences=counts.sentences,
        reading_ease=analysis.reading_ease(counts),
        sections=[(s.heading, s.counts.words, analysis.reading_ease(s.counts)) for s in sections],
        key_phrases=analysis.key_phrases(candidates, limit=10),
        duplicates=analysis.near_duplicates([sketch for section in sections for sketch in section.sketches]),
        links=list(dict.fromkeys(link for section in sections for link in section.links)),
        dates=sorted({date for section in sections for date in section.dates}),
    )


document_review = DocumentReview(timeout=None)
