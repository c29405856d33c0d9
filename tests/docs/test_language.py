"""Docstrings, comments and pages in plain English: no sentence has to be read twice to find its subject.

ruff's pydocstyle rules do not say this: D401 refuses noun phrases and looks at functions alone.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.spawning import ROOT


class Text(NamedTuple):
    """A docstring, a block of comments or a paragraph of a page, on one line."""

    path: str
    line: int
    words: str


class Pattern(NamedTuple):
    """A way to begin or to build a sentence, and how to say it instead."""

    name: str
    expression: str
    instead: str


FIRST_WORD = Pattern(
    "first-word",
    r"^(?:What|Who|Whose|Whether|How|Where|Which|Why|Whatever|Whoever)\b",
    "begin a docstring with a verb or a noun phrase: 'Return whether …', 'Number of …', 'The caller that …'",
)
RIDDLES = (
    Pattern(
        "relative-subject",
        r"(?:^|[.!;] )(?:What|Who|Whose)\b(?! else\b)[^.!?]*[.!;](?: |$)",
        "name the subject: 'a caller that waits', 'values that cannot be stored'",
    ),
    Pattern(
        "is-none",
        r"\b(?:it|that|this|which|one|stop|start) (?:is|are|was|were) none\b",
        "repeat the noun: 'it is not an envelope'",
    ),
    Pattern(
        "that-is-no",
        r"\b(?:that|which|what) (?:is|are|was|were) no (?!longer\b|more\b|less\b|better\b|worse\b|different\b)\w",
        "say 'not a': 'a step that is not a coroutine'",
    ),
    Pattern("who-has-none", r"\b[Ww]ho (?:has|have) (?:no|none)\b", "say 'without': 'a caller without a server'"),
)

CODE = ("workflow_server", "tests", "examples", "scripts")
"""Folders whose docstrings are looked at by their first words."""
PLAIN = ("workflow_server", "examples")
"""Folders whose docstrings and comments hold none of the riddles, either."""
LONGEST_NAME = 64
"""Characters of a test's name: 60 or so, as CONTRIBUTING.md says."""
_TEST = re.compile(r"^ *(?:async )?def (test_\w+)", re.MULTILINE)


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def docstrings(path: Path) -> Iterator[Text]:
    """The docstrings of a module, of its classes and functions, and those that follow an attribute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Text(_named(path), node.lineno, " ".join(node.value.value.split()))


def comments(path: Path) -> Iterator[Text]:
    """The comments of a module that have lines of their own; neighbours are one text."""
    begin, end, words = 0, 0, list[str]()
    with io.StringIO(path.read_text(encoding="utf-8")) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type != tokenize.COMMENT or not token.line.lstrip().startswith("#"):
                continue
            if token.start[0] != end + 1 and words:
                yield Text(_named(path), begin, " ".join(words))
                words = []
            begin = begin if words else token.start[0]
            end = token.start[0]
            words.append(token.string.lstrip("# "))
    if words:
        yield Text(_named(path), begin, " ".join(words))


def paragraphs(path: Path) -> Iterator[Text]:
    """The prose of a page: its paragraphs, items and table rows, without code."""
    text = path.read_text(encoding="utf-8")
    without_code = re.sub(
        r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL
    )
    line = 1
    for paragraph in re.split(r"(\n(?:\s*\n)+|\n(?=[|-]))", without_code):
        if paragraph.strip() and not paragraph.startswith("#"):
            yield Text(_named(path), line, " ".join(paragraph.split()))
        line += paragraph.count("\n")


def found(texts: Iterator[Text], *patterns: Pattern) -> list[str]:
    """The places where one of the patterns stands, each with what to write instead."""
    places: list[str] = []
    for text in texts:
        for pattern in patterns:
            match = re.search(pattern.expression, text.words)
            if match is not None:
                places.append(f"{text.path}:{text.line}: '{match[0][:60]}': {pattern.instead}")
    return places


@pytest.mark.parametrize("folder", CODE)
def test_no_docstring_begins_with_a_relative(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [place for path in files for place in found(docstrings(path), FIRST_WORD)] == []


@pytest.mark.parametrize("folder", PLAIN)
def test_code_is_commented_in_plain_sentences(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    texts = [text for path in files for text in (*docstrings(path), *comments(path))]
    assert found(iter(texts), *RIDDLES) == []


@pytest.mark.parametrize("folder", ["tests", "scripts"])
def test_docstrings_beside_the_package_are_plain_sentences(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert [place for path in files for place in found(docstrings(path), *RIDDLES)] == []


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_pages_are_written_in_plain_sentences(page: str) -> None:
    assert found(paragraphs(ROOT / "docs" / page), *RIDDLES) == []


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ('"""Whether it is one."""', "first-word"),
        ('"""Who waits for one of the others waits again."""', "relative-subject"),
        ("# The others go on. What only gathered was not tried.", "relative-subject"),
        ('"""Return the run, or None where it is none."""', "is-none"),
        ("# A step that is no coroutine runs in a thread.", "that-is-no"),
        ("# A caller who has no server has none to stop.", "who-has-none"),
    ],
)
def test_a_planted_line_is_named_by_file_and_line(line: str, pattern: str, tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(f'"""A module."""\n\nNUMBER = 1\n{line}\n', encoding="utf-8")
    [of_it] = [known for known in (FIRST_WORD, *RIDDLES) if known.name == pattern]
    [place] = found(iter([*docstrings(planted), *comments(planted)]), of_it)
    assert place.startswith(f"{planted}:4: ")


def test_the_name_of_a_test_says_no_more_than_what_holds() -> None:
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    names = [name for path in files for name in _TEST.findall(path.read_text(encoding="utf-8"))]
    assert names
    assert [name for name in names if len(name) > LONGEST_NAME] == []
