"""The tables of docs/performance.md show every workload of the benchmark, as it was measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.harness.spawning import ROOT, clean_environment

PAGE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
GENERATED = PAGE.partition("<!-- measured -->\n")[2].partition("<!-- /measured -->\n")[0]
RESULTS = [json.loads(line) for line in (ROOT / "docs/performance.ndjson").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def workloads() -> list[str]:
    """Return the names of all workloads, in their order."""
    listed = subprocess.run(
        [sys.executable, "-m", "benchmark", "--list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**clean_environment(), "PYTHONPATH": str(ROOT / "scripts")},
        check=True,
    )
    return [line.split()[0] for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("section", ["Figures", "CPU time", "Workloads"])
def test_each_table_has_every_workload(section: str, workloads: list[str]) -> None:
    _, _, after = GENERATED.partition(f"### {section}\n\n")
    rows = after.partition("\n\n")[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == workloads


def test_the_tables_are_of_the_results_beside_the_page(workloads: list[str]) -> None:
    assert [result["workload"] for result in RESULTS] == workloads
    for result in RESULTS:
        assert f"| `{result['commit']}` | {result['date']} | {result['machine']} |" in GENERATED


def test_the_page_says_what_was_found_and_what_did_not_help() -> None:
    assert {"How it is measured", "What was found", "What did not help"} <= set(
        re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    )
