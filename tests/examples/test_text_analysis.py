"""The figures of a review, held against texts whose figures are known."""

from __future__ import annotations

from collections import Counter

import pytest
import text_analysis as analysis


def test_sections_follow_the_headings_and_lose_no_word() -> None:
    sections = analysis.split_sections("Before.\n\n# One\nfirst\n\n## Two ##\n\nsecond\n### Empty\n")
    assert [tuple(section) for section in sections] == [
        ("", "Before."),
        ("One", "first"),
        ("Two", "second"),
        ("Empty", ""),
    ]


def test_a_long_text_without_headings_is_cut_between_paragraphs() -> None:
    paragraph = "word " * 300
    sections = analysis.split_sections("\n\n".join([paragraph] * 20))
    assert len(sections) > 1
    assert sum(analysis.count(section.text).words for section in sections) == 20 * 300


@pytest.mark.parametrize("text", ["# h\nline\n" * 5_000, "word\n\n" * 50_000])
def test_any_text_has_a_bounded_number_of_sections(text: str) -> None:
    sections = analysis.split_sections(text)
    assert 1 < len(sections) <= analysis.MOST_SECTIONS
    body = "\n".join(section.text for section in sections)
    assert body.count("line") + body.count("word") == text.count("line") + text.count("word")


def test_reading_ease_is_fleschs_formula() -> None:
    counts = analysis.count("The cat sat on the mat. It was happy.")
    assert counts == (9, 2, 10)
    assert analysis.reading_ease(counts) == round(206.835 - 1.015 * 9 / 2 - 84.6 * 10 / 9, 1)


def test_a_text_without_words_has_no_reading_ease() -> None:
    assert analysis.reading_ease(analysis.count("42 -- 17\n\n***")) is None


def test_key_phrases_are_the_words_that_keep_company() -> None:
    candidates = analysis.candidate_phrases(
        "Durable workflow engine and durable workflow server. The engine, and the durable workflow engine."
    )
    assert candidates["durable workflow engine"] == 2
    assert analysis.key_phrases(candidates, limit=2) == ["durable workflow engine", "durable workflow server"]
    assert analysis.key_phrases(Counter(), limit=3) == []


def test_a_changed_word_leaves_a_near_duplicate() -> None:
    one = "the quick brown fox jumps over the lazy dog while the cat sleeps on the warm stove all day long"
    texts = [one, "short", one.replace("long", "through"), "a text about something that is not the same at all", one]

    found = analysis.near_duplicates([analysis.sketch(text) for text in texts])

    assert [(pair.first, pair.second) for pair in found] == [(1, 3), (1, 5)]
    assert found[0].similarity < found[1].similarity == 1.0


def test_links_come_once_and_without_the_punctuation_around_them() -> None:
    text = "See https://a.example/x. And (https://b.example/y), [z](https://c.example/z) <https://a.example/x>!"
    assert analysis.links(text) == ["https://a.example/x", "https://b.example/y", "https://c.example/z"]


def test_dates_are_those_of_the_calendar_in_any_of_three_forms() -> None:
    text = "On 2026-02-28, 1st March 2026, March 2, 2026 and 2 march 2026; not 2026-02-30, 31 June 2026 or 12026-01-01."
    assert analysis.dates(text) == ["2026-02-28", "2026-03-01", "2026-03-02"]
