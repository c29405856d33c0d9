"""The version of a workflow's code: it changes with the code, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.spawning import ROOT, clean_environment
from workflow_server.execution.exceptions import InvalidWorkflow
from workflow_server.protocol.handlers import RunRequest

CODE = """
from typing import Literal
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

class State(BaseModel):
    n: int = 0

class Part(Event):
    n: int = 1
    kind: Literal["b", "a"] = "a"

class Base(Workflow):
    def double(self, n):
        return 2 * n

class Flow(Base):
    @step
    async def begin(self, ctx: Context[State], ev: StartEvent) -> Part:
        return Part(n=1)

    @step
    async def end(self, ev: Part) -> StopEvent:
        return StopEvent(result=self.double(ev.n))

print(VERSION(Flow()))
"""

PRINTING = """
from workflow_server.execution.workflow import ServedWorkflow
VERSION = lambda flow: ServedWorkflow("flow", flow, ()).code_version
"""


def version_in(folder: Path, code: str, *options: str) -> str:
    """Return the version that a process of its own finds."""
    path = folder / "flow.py"
    path.write_text(PRINTING + code)
    command = [sys.executable, *options, str(path)]
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    return done.stdout.strip()


def test_a_version_is_the_same_in_every_process(tmp_path: Path) -> None:
    version = version_in(tmp_path, CODE)
    assert len(version) == 12
    assert version_in(tmp_path, CODE, "-O") == version
    # Blank lines, and the code around the workflow, do not count.
    moved = CODE.replace("class State", "UNUSED = 1\n\n\nclass State").replace(
        "        return Part", "\n        return Part"
    )
    assert version_in(tmp_path, moved) == version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return Part(n=1)", "return Part(n=2)"),
        ("return 2 * n", "return 3 * n"),
        ("async def end(", "async def finish("),
        ("    n: int = 1\n", "    n: float = 1\n"),
        ('Literal["b", "a"] = "a"', 'Literal["b", "a", "c"] = "a"'),
        ("    n: int = 0\n", "    n: int = 0\n    m: int = 0\n"),
    ],
)
def test_a_version_changes_with_steps_events_and_state(tmp_path: Path, old: str, new: str) -> None:
    assert old in CODE
    assert version_in(tmp_path, CODE.replace(old, new)) != version_in(tmp_path, CODE)


class Answers(Workflow):
    @step
    async def answer(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result="yes")


@pytest.mark.parametrize("version", ["", "x" * 101, "two\nlines", 7])
async def test_a_version_that_cannot_be_shown_is_refused(managing: Managing, version: object) -> None:
    async with managing() as manager:
        with pytest.raises(InvalidWorkflow, match="its version must be a text of 1 to 100 characters"):
            manager.add_workflow("answers", Answers(), version=version)  # type: ignore[arg-type]


async def test_a_run_keeps_the_version_with_which_it_was_started(managing: Managing) -> None:
    async with managing() as manager:
        manager.add_workflow("answers", Answers(), version="2026-03")
        handler = await manager.run("answers", RunRequest())
        assert handler.code_version == "2026-03"
    async with managing() as manager:
        manager.add_workflow("answers", Answers(), version="2026-04")
        assert (await manager.get_handler(handler.handler_id)).code_version == "2026-03"
        # The next run of the handler is one of the present code.
        again = await manager.run("answers", RunRequest(handler_id=handler.handler_id))
        assert again.code_version == "2026-04"
        assert (await manager.get_handler(handler.handler_id)).code_version == "2026-04"
