"""Everything that docs/architecture.md names exists."""

from __future__ import annotations

import re

import pytest

from tests.harness.spawning import ROOT

TEXT = (ROOT / "docs/architecture.md").read_text()
NAMED_TESTS = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", TEXT)


@pytest.mark.parametrize(("file", "name"), NAMED_TESTS)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    source = (ROOT / "tests/end_to_end" / file).read_text()
    assert not name or re.search(rf"^(async )?def {name}\(", source, re.MULTILINE)


def test_the_table_of_features_names_tests() -> None:
    assert len(NAMED_TESTS) >= 20


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`((?:cli|web|runs|execution|store|protocol|tests|migrations)/[\w/]*(?:\.py)?)`", TEXT))),
)
def test_a_file_that_is_named_exists(path: str) -> None:
    assert (PACKAGE / path).exists() or (ROOT / path).exists()


PACKAGE = ROOT / "workflow_server"
FOLDERS = sorted(str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.glob("**/__init__.py"))[1:]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_in_the_table_of_its_folder(folder: str) -> None:
    modules = {path.stem for path in (PACKAGE / folder).glob("*.py")} - {"__init__"}
    _, _, after = TEXT.partition(f"The modules of `{folder}/`")
    table = after.split("\n\n")[1]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == modules, f"docs/architecture.md, table of the modules of `{folder}/`: add or remove these names"
