"""The findings of a review, and their Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict
from text_analysis import Duplicate

MOST_LISTED = 50


class Findings(BaseModel):
    """Everything that a review found. ``sections`` are heading, words and reading ease of each."""

    model_config = ConfigDict(frozen=True)

    words: int
    sentences: int
    reading_ease: float | None
    sections: list[tuple[str, int, float | None]]
    key_phrases: list[str]
    duplicates: list[Duplicate]
    links: list[str]
    dates: list[str]
    summary: str | None = None


def render_findings(findings: Findings) -> str:
    """Return the findings as Markdown, without a title."""
    ease = "no words" if findings.reading_ease is None else f"reading ease {findings.reading_ease} of 100"
    parts = [f"{findings.words} words in {findings.sentences} sentences, {ease} (Flesch)."]
    if findings.summary:
        parts += ["## Summary", findings.summary]
    parts += ["## Sections", _table(findings.sections)]
    repeated = (f"paragraph {d.second} repeats paragraph {d.first} ({d.similarity:.0%})" for d in findings.duplicates)
    for heading, lines in (
        ("Key phrases", findings.key_phrases),
        ("Duplicates", repeated),
        ("Links", findings.links),
        ("Dates", findings.dates),
    ):
        parts += [f"## {heading}", _list(lines)]
    return "\n\n".join(parts)


def render_report(title: str, verdict: str, comment: str, findings: Findings) -> str:
    """Return the whole report as Markdown: the verdict first, then its reasons."""
    quoted = [f"> {line}" for line in comment.splitlines()]
    head = [f"# Review of {_one_line(title)}", f"**{_one_line(verdict)}**", *(["\n".join(quoted)] if quoted else [])]
    return "\n\n".join([*head, render_findings(findings)]) + "\n"


def _table(sections: Iterable[tuple[str, int, float | None]]) -> str:
    rows = ["| section | words | reading ease |", "|---|---:|---:|"]
    for heading, words, ease in sections:
        name = _one_line(heading).replace("|", "\\|") or "(no heading)"
        rows.append(f"| {name} | {words} | {'-' if ease is None else ease} |")
    return "\n".join(rows)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(_bounded(lines)) or "None."


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == MOST_LISTED:
            yield "- and more"
            return
        yield f"- {line}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
