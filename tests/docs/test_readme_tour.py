"""The tour of the README: its commands are run as they stand there, and must print what it shows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.spawning import ROOT, clean_environment


def console_blocks() -> list[str]:
    return re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def commands_and_output(blocks: list[str]) -> tuple[list[str], list[str]]:
    """Split into commands (after ``$``, continued over lines that end with a backslash) and all other lines."""
    commands, output = [], []
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append(line.removeprefix("$ "))
        else:
            output.append(line)
    return commands, output


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    python = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert python is not None
    (tmp_path / "flows.py").write_text(python[1])
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.slow(20)
@pytest.mark.timeout(400)
def test_the_tour_prints_what_the_readme_shows(project: Path) -> None:
    port = free_port()
    commands, shown = commands_and_output(console_blocks())
    # What scripts/run does besides is tested with the scripts.
    serve = f"WORKFLOW_SERVER_PORT={port} {sys.executable} -m workflow_server serve"
    script = "\n".join(command for command in commands if not command.startswith("scripts/setup"))
    script = script.replace("scripts/run &", f"{serve} examples/app.py --db data/workflow_server.sqlite3 &")
    script = script.replace("venv/bin/workflow-server serve", serve).replace("localhost:8080", f"localhost:{port}")
    # A reader goes on when it says that it listens.
    waiting = f"until curl -s localhost:{port}/health; do sleep 0.1; done"
    script = script.replace("serve flows.py &", f"serve flows.py & {waiting}")

    with subprocess.Popen(
        ["bash"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=project,
        env=clean_environment(),
        start_new_session=True,
    ) as bash:
        try:
            printed, _ = bash.communicate(script, timeout=300)
        finally:
            if bash.poll() is None:
                os.killpg(bash.pid, signal.SIGKILL)

    printed = printed.replace(f"127.0.0.1:{port}", "127.0.0.1:8080")
    assert bash.returncode == 0
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        assert re.search(pattern, printed), f"the README shows a line that did not come:\n{line}\n\n{printed}"
