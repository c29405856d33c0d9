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
