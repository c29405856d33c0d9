"""The commands of docs/commands.md are run as they stand there, and print what is shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.test_cli import run
from tests.conftest import StartServer
from tests.harness.spawning import ROOT

PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
HELLO = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Hello(Workflow):
    @step
    async def greet(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=f"Hello, {ev.name}!")

hello = Hello()
"""


@pytest.mark.slow(10)
def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(HELLO)
    server = start_server(tmp_path / "flows.py")
    commands = 0
    for block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            program, *arguments = shlex.split(line)
            assert program == "workflow-server"
            done = run(*arguments, cwd=tmp_path, WORKFLOW_SERVER_URL=server.url)
            assert (done.returncode, done.stdout) == (0, shown), done.stderr
            commands += 1
    assert commands == 6
