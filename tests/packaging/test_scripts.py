"""The scripts, in a fresh clone on a machine that has Python and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.plain_http import get_json, post_json
from tests.harness.spawning import ROOT, clean_environment


@contextmanager
def scripts_run(clone: Path, *, cwd: Path) -> Iterator[tuple[str, int]]:
    """``scripts/run`` on a free port: its address and process id. It is ended, and has to end well."""
    process = subprocess.Popen(
        [str(clone / "scripts/run"), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=clean_environment(),
    )
    assert process.stdout is not None
    with process.stdout:
        yield next(word for line in process.stdout for word in line.split() if word.startswith("http://")), process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@pytest.mark.slow(30)
@pytest.mark.timeout(400)
def test_run_serves_the_examples_and_keeps_their_runs(clone: Path, tmp_path: Path) -> None:
    with scripts_run(clone, cwd=tmp_path) as (url, _):
        assert not url.endswith(":8080"), "the option was not passed on"
        assert get_json(f"{url}/workflows") == {"workflows": ["document_review", "hello", "nightly_batch"]}
        answer = post_json(f"{url}/workflows/hello/run", {"start_event": {"name": "clone"}})
        assert answer["result"]["value"]["result"] == "Hello, clone!"
    assert (clone / "data/workflow_server.sqlite3").exists()

    installed = (clone / ".venv/.installed").stat().st_mtime_ns
    with scripts_run(clone, cwd=tmp_path) as (url, _):
        assert get_json(f"{url}/handlers/{answer['handler_id']}")["status"] == "completed"
    assert (clone / ".venv/.installed").stat().st_mtime_ns == installed


SCRIPTS = ("run", "setup", "test", "chromium", "matrix", "lock", "pythons", "reliability", "interop", "bench", "large")


@pytest.mark.parametrize("script", [*(f"scripts/{name}" for name in SCRIPTS), ".ci/run"])
def test_scripts_are_executable_and_stop_at_the_first_error(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("interop", "--folder"), "--folder takes a folder. --help lists the options."),
        (("interop", "--folder", "streams"), "--folder takes a folder. --help lists the options."),
        (("interop", "stream"), "There is no part 'stream'."),
        (("reliability", "--seed=x"), "--seed takes a number. --help lists the options."),
        (("reliability", "--seed"), "--seed takes a number. --help lists the options."),
        (("reliability", "kill"), "There is no attack 'kill'."),
        (("matrix", "--sqlite", "nowhere"), "--sqlite takes a folder with a libsqlite3.so.0."),
        (("setup", "tests"), "Usage: scripts/setup [test | agent]"),
        (("setup", "test", "agent"), "Usage: scripts/setup [test | agent]"),
        (("chromium", "--find"), "Usage: scripts/chromium [--found]"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_mistaken_option_is_told_in_a_sentence(command: tuple[str, ...], told: str) -> None:
    script = ROOT / "scripts" / command[0]
    done = subprocess.run(
        [str(script), *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "line " not in done.stderr


@pytest.mark.parametrize("script", ["test", "chromium", "matrix", "reliability", "interop"])
def test_help_is_told_and_nothing_is_done(script: str) -> None:
    done = subprocess.run(
        [str(ROOT / "scripts" / script), "--help"], capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert done.stdout.startswith(f"Usage: scripts/{script} ")
    assert done.stderr == ""


def test_every_requirement_is_pinned_and_no_index_is_named() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    lines = (ROOT / "scripts/constraints.txt").read_text().splitlines()[1:]
    assert all(re.fullmatch(r'[a-z0-9-]+==[\w.!+]+( ; python_version == "3\.1[123]")?', line) for line in lines)
    pinned = {line.partition("==")[0] for line in lines}
    assert {re.split(r"[ <>=]", line)[0].lower() for line in wanted.split("\n") if line} <= pinned


def test_the_workflow_of_github_runs_the_script_of_ci() -> None:
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"- run: (.*)", text) == [".ci/run", "scripts/bench --quick"]
    for version in ("3.11", "3.12", "3.13"):
        assert f'"{version}"' in text


def test_ci_runs_the_test_script_and_nothing_else() -> None:
    lines = [
        line for line in (ROOT / ".ci/run").read_text().splitlines() if line and not line.startswith(("#", "set "))
    ]
    assert len(lines) == 1
    assert lines[0].endswith('scripts/test"')
