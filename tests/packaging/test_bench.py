"""The benchmark, with as little to do as possible: each kind of workload yields its figures, whatever they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.harness.spawning import ROOT, clean_environment

THIS, ENGINE = "this server", "bare engine"


def bench(*options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the benchmark in this environment."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT / "scripts")},
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def measured(out: Path, *names: str) -> dict[str, dict[str, Any]]:
    """Measure these workloads once, with a hundredth of their work, without peers."""
    bench("--only", *names, "--scale", "0.01", "--repeats", "1", "--no-peers", "--json", str(out))
    results = [json.loads(line) for line in out.read_text().splitlines()]
    return {result["workload"]: result for result in results}


@pytest.mark.slow(8)
@pytest.mark.parametrize(
    "names",
    [("chain-spans", "run-nowait"), ("sse-50", "posted", "publish-to-reader")],
    ids=["runs", "events"],
)
def test_each_figure_of_runs_and_events_comes_out(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    results = measured(tmp_path / "results", *names)
    assert [path.name for path in tmp_path.iterdir()] == ["results"], "files of the measurements are left"
    assert set(results) == set(names)
    for result in results.values():
        assert result["figures"][THIS]["value"] > 0
        assert result["figures"][THIS]["cpu"] > 0
        assert result["figures"][THIS]["client"] > 0
        assert result["ratios"][ENGINE]["cpu"] > 0
    assert results[names[0]]["ratios"][ENGINE]["value"] > 0


@pytest.mark.slow(15)
def test_each_figure_of_what_is_stored_comes_out(tmp_path: Path) -> None:
    names = ("resume-200", "memory-released", "page-1k")
    results = measured(tmp_path / "results", *names)
    assert set(results) == set(names)
    for name, result in results.items():
        # Of twenty runs, the memory may be that of twenty before them.
        assert result["figures"][THIS]["value"] > 0 or name == "memory-released"
        assert result["figures"][THIS]["cpu"] > 0


@pytest.mark.slow(10)
def test_a_check_fails_on_a_recorded_ratio_that_is_lost(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.json"
    options = ("--check", "--only", "echo", "--scale", "0.05", "--repeats", "1", "--baseline", str(recorded))
    recorded.write_text(json.dumps({"ratios": {"echo": {"median": 0.001, "least": 0.001}}}))
    done = bench(*options, status=1)
    assert re.search(r"^echo: CPU time over the bare engine \d.* recorded 0\.001", done.stdout, re.MULTILINE)

    recorded.write_text(json.dumps({"ratios": {"echo": {"median": 1_000.0, "least": 0.001}}}))
    assert "No ratio has lost more than 15%" in bench(*options).stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--repeats", "0"), "argument --repeats: '0' is not a number above 0"),
        (("--only", "chains"), "there is no workload 'chains'. --list names all"),
        (("--against", "nothing-like-it", "--only", "echo"), "There is no revision 'nothing-like-it'."),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_mistaken_option_of_the_benchmark_is_told(options: tuple[str, ...], told: str) -> None:
    done = bench(*options, "--no-peers", status=2)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
