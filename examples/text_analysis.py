"""Analysis of a text without a model: pure functions, the same answer for the same text."""

from __future__ import annotations

import calendar
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from hashlib import blake2b
from typing import NamedTuple

SECTION_LIMIT = 6_000
"""Maximum characters of a section without a heading; a longer one is cut at the next paragraph."""

MOST_SECTIONS = 200
"""Maximum number of sections; neighbouring sections of a document with more are read as one."""

SHINGLE_WORDS = 4
SKETCH_SIZE = 64
"""Paragraphs of up to 67 words are compared exactly, longer ones by a sample of this many shingles."""

MOST_COMPARED = 8
"""Maximum number of paragraphs with a shingle that later ones are compared with: in more, it is a common phrase."""

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after again all also an and any are as at be because been before being between both but by can could
        did do does down during each either else every few for from had has have he her here him his how i if in into
        is it its just may me might more most must my neither no nor not now of off on once one only or other our out
        over own per same shall she should so some still such than that the their them then there these they this those
        through to too two under until up upon us very was we were what when where whether which while who whom whose
        why will with within without would yet you your""",
    )
)

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}

_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+(?=[\s\"')\]]|$)")
_VOWELS = re.compile(r"[aeiouy]+")
_LINK = re.compile(r"https?://[^\s<>\"'`\])]+")
_PHRASE_BREAK = re.compile(r"[^\w\s'’-]+|\n\s*\n")
_MONTH = "|".join(MONTHS)
_DATE = re.compile(
    rf"\b(?:(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})"
    rf"|(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?P<month>{_MONTH}),? (?P<year>\d{{4}})"
    rf"|(?P<month2>{_MONTH}) (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year2>\d{{4}}))\b",
    re.IGNORECASE,
)


class Section(NamedTuple):
    """A part of a document under one heading; the first may have none."""

    heading: str
    text: str


class Counts(NamedTuple):
    """Numbers from which readability is computed."""

    words: int
    sentences: int
    syllables: int


class Duplicate(NamedTuple):
    """Two paragraphs, counted from 1 over the document, and the share of their shingles that is the same."""

    first: int
    second: int
    similarity: float


def split_sections(text: str) -> list[Section]:
    """Return the sections of a Markdown or plain text, at most MOST_SECTIONS.

    Long ones are cut between paragraphs, so that the work can be shared.
    """
    sections = _cut(text, limit=max(SECTION_LIMIT, 2 * len(text) // MOST_SECTIONS))
    group = -(-len(sections) // MOST_SECTIONS)
    if group <= 1:
        return sections
    return [_join(sections[at : at + group]) for at in range(0, len(sections), group)]


def _join(sections: Sequence[Section]) -> Section:
    first, *others = sections
    pieces = [first.text, *(f"{section.heading}\n\n{section.text}" for section in others)]
    return Section(f"{first.heading} …", "\n\n".join(pieces).strip())


def _cut(text: str, limit: int) -> list[Section]:
    sections: list[Section] = []
    heading, lines, size = "", list[str](), 0

    def close() -> None:
        body = "\n".join(lines).strip()
        if body or heading:
            sections.append(Section(heading, body))

    for line in text.splitlines():
        found = _HEADING.match(line)
        if found or (size > limit and not line.strip()):
            close()
            heading, lines, size = (found[1] if found else heading), [], 0
        if not found:
            lines.append(line)
            size += len(line) + 1
    close()
    return sections


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which blank lines separate."""
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def count(text: str) -> Counts:
    """Count words, sentences and syllables. A syllable is a group of vowels, except a silent e at the end."""
    prose = _LINK.sub(" ", text)
    words = _WORD.findall(prose)
    sentences = sum(1 for part in paragraphs(prose) for piece in _SENTENCE_END.split(part) if _WORD.search(piece))
    return Counts(len(words), sentences, sum(_syllables(word.lower()) for word in words))


def _syllables(word: str) -> int:
    groups = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)


def reading_ease(counts: Counts) -> float | None:
    """Return Flesch's reading ease: about 0 is very hard, about 100 very easy; None without words.

    Source: Rudolf Flesch, "A new readability yardstick", Journal of Applied Psychology 32 (1948), 221-233.
    """
    if not counts.words or not counts.sentences:
        return None
    words_a_sentence = counts.words / counts.sentences
    syllables_a_word = counts.syllables / counts.words
    return round(206.835 - 1.015 * words_a_sentence - 84.6 * syllables_a_word, 1)


def candidate_phrases(text: str) -> Counter[str]:
    """Return runs of up to three words between stop words and punctuation, with their numbers of occurrences."""
    found: Counter[str] = Counter()
    for part in _PHRASE_BREAK.split(_LINK.sub(". ", text)):
        run: list[str] = []
        for word in [*(w.lower() for w in _WORD.findall(part)), ""]:
            if word and word not in STOP_WORDS and len(word) > 1:
                run.append(word)
                continue
            if 0 < len(run) <= 3:
                found[" ".join(run)] += 1
            run = []
    return found


def key_phrases(candidates: Counter[str], limit: int) -> list[str]:
    """Return the highest scored phrases; a word scores by the words it occurs with (degree over frequency).

    Source: Rose, Engel, Cramer and Cowley, "Automatic keyword extraction from individual documents", in Text
    Mining: Applications and Theory (2010), there called RAKE. Here a phrase also counts for each time that it occurs.
    """
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase, times in candidates.items():
        words = phrase.split()
        for word in words:
            frequency[word] += times
            degree[word] += times * len(words)
    scores = {
        phrase: times * sum(degree[word] / frequency[word] for word in phrase.split())
        for phrase, times in candidates.items()
    }
    return sorted(scores, key=lambda phrase: (-scores[phrase], phrase))[:limit]


def sketch(paragraph: str) -> list[int]:
    """Return the smallest hashes of the paragraph's word shingles, in order; none for paragraphs too short to
    compare."""
    words = [word.lower() for word in _WORD.findall(paragraph)]
    shingles = {" ".join(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1)}
    hashes = (int.from_bytes(blake2b(shingle.encode(), digest_size=6).digest()) for shingle in shingles)
    return sorted(hashes)[:SKETCH_SIZE]


def near_duplicates(sketches: Sequence[Sequence[int]], threshold: float = 0.6) -> list[Duplicate]:
    """Return the pairs of paragraphs that are at least as similar as the threshold, each repetition with its first.

    Source: Andrei Broder, "On the resemblance and containment of documents" (1997): the smallest hashes of the union
    are a sample of it, and the share of them that both hold estimates the share of common shingles.
    """
    firsts: dict[tuple[int, ...], int] = {}
    found: list[Duplicate] = []
    for number, hashes in enumerate(map(tuple, sketches), start=1):
        first = firsts.setdefault(hashes, number)
        if first != number and hashes:
            found.append(Duplicate(first, number, 1.0))
    holders: defaultdict[int, list[int]] = defaultdict(list)
    pairs: set[tuple[int, int]] = set()
    for hashes, number in firsts.items():
        for value in hashes:
            pairs.update((earlier, number) for earlier in holders[value])
            if len(holders[value]) < MOST_COMPARED:
                holders[value].append(number)
    scored = (Duplicate(a, b, _resemblance(sketches[a - 1], sketches[b - 1])) for a, b in pairs)
    return sorted([*found, *(pair for pair in scored if pair.similarity >= threshold)])


def _resemblance(one: Sequence[int], other: Sequence[int]) -> float:
    both = set(one) & set(other)
    sample = sorted({*one, *other})[:SKETCH_SIZE]
    return round(sum(value in both for value in sample) / len(sample), 2)


def links(text: str) -> list[str]:
    """Return each web address once, in the order of the text."""
    return list(dict.fromkeys(found.rstrip(".,;:!?") for found in _LINK.findall(text)))


def dates(text: str) -> list[str]:
    """Return each calendar date once, as ISO-8601 and in order of time; impossible dates are omitted."""
    return sorted({found.isoformat() for found in _dates(text)})


def _dates(text: str) -> Iterator[date]:
    for found in _DATE.finditer(text):
        part = found.groupdict()
        try:
            if part["iso"]:
                yield date.fromisoformat(part["iso"])
            else:
                month = MONTHS[(part["month"] or part["month2"]).lower()]
                yield date(int(part["year"] or part["year2"]), month, int(part["day"] or part["day2"]))
        except ValueError:
            # Looks like a date but is impossible, as 2026-02-30.
            continue


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of several sections' counts."""
    parts = list(counts)
    return Counts(sum(c.words for c in parts), sum(c.sentences for c in parts), sum(c.syllables for c in parts))
