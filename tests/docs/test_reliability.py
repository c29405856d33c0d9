"""The table of docs/reliability.md claims what was run, by tests that are there."""

from __future__ import annotations

import re

from tests.reliability import reporting


def test_the_table_is_the_one_that_the_recorded_run_made() -> None:
    page = reporting.PAGE.read_text(encoding="utf-8")
    assert page.partition(reporting.BEGIN)[2].partition(reporting.END)[0] == reporting.table()


def test_every_row_comes_from_a_long_form_of_a_test_that_is_there() -> None:
    for row in reporting.recorded():
        path, _, name = row.test.partition("::")
        assert row.long, row
        assert re.search(rf"^(async )?def {name}\(", (reporting.ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_promise_was_attacked() -> None:
    attacked = {promise for row in reporting.recorded() for promise in promises(row.promises)}
    assert attacked >= set(range(1, 12))


def promises(named: str) -> set[int]:
    """The numbers in ``P1 P3`` or ``P1–P8``; a control has none."""
    found: set[int] = set()
    for first, last in re.findall(r"P(\d+)(?:–P(\d+))?", named):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_every_attack_was_recorded() -> None:
    attacks = {path.stem.removeprefix("test_") for path in reporting.ATTACKS.rglob("test_*.py")}
    assert {row.attack for row in reporting.recorded()} == attacks
