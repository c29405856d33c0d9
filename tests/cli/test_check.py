"""``workflow-server check`` as it is typed: which runs a start with other code would suspend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli import assert_one_line, run
from tests.conftest import StartServer
from tests.harness.plain_http import post_json
from tests.harness.spawning import ROOT
from tests.upgrades.making import TARGET

FIXTURES = sorted(folder for folder in (ROOT / "tests" / "upgrades" / "fixtures").iterdir() if folder.is_dir())
WORKFLOWS = ROOT / "tests" / "end_to_end" / "targets" / TARGET

ASKING = """
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

class Asking(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent)
        return StopEvent()

asking = Asking()
other = Asking()
"""


@pytest.fixture
def asking(tmp_path: Path, start_server: StartServer) -> tuple[str, str]:
    """Start a run of each of two workflows, and return their handlers when the server is killed."""
    path = tmp_path / "asked_for_check.py"
    path.write_text(ASKING)
    server = start_server(path, db=tmp_path / "runs.sqlite3")
    first, second = (
        post_json(f"{server.url}/workflows/{name}/run-nowait", {})["handler_id"] for name in ("asking", "other")
    )
    server.kill()
    return first, second


def check(folder: Path, code: str, *options: str) -> tuple[int, str]:
    (folder / "asked_for_check.py").write_text(code)
    done = run("check", "asked_for_check.py", "--db", "runs.sqlite3", *options, cwd=folder, PYTHONDONTWRITEBYTECODE="1")
    return done.returncode, done.stdout


def test_the_runs_that_do_not_fit_are_listed_with_the_reasons(asking: tuple[str, str], tmp_path: Path) -> None:
    assert check(tmp_path, ASKING) == (0, "'runs.sqlite3': 2 unfinished runs, all fit the code\n")
    changed = ASKING.replace("def ask(", "def inquire(").replace("other = Asking()", "")
    code, told = check(tmp_path, changed)
    lines = told.splitlines()
    assert (code, len(lines)) == (1, 5)
    assert lines[0].split() == ["HANDLER", "WORKFLOW", "STARTED", "WITH", "WHY"]
    assert lines[1].startswith(asking[0])
    assert "there is work for step 'ask', which is no longer in the code (deploy code that has it, or name" in lines[1]
    assert lines[2].startswith(asking[1])
    assert lines[2].endswith("its workflow is not registered on this server")
    assert lines[4] == "'runs.sqlite3': 2 unfinished runs, 2 would be suspended"
    code, told = check(tmp_path, changed, "--json")
    found = json.loads(told)
    assert (code, found["unfinished"]) == (1, 2)
    assert [one["handler_id"] for one in found["suspended"]] == list(asking)
    assert {"workflow_name", "run_id", "code_version", "reason", "stored_name"} <= found["suspended"][0].keys()


def test_names_that_have_changed_are_found(asking: tuple[str, str], tmp_path: Path) -> None:
    serving = """
from workflow_server import WorkflowServer
server = WorkflowServer()
for name in ("asking", "other"):
    server.add_workflow(name, Asking(), renamed={"ask": "inquire"})
"""
    assert check(tmp_path, ASKING.replace("def ask(", "def inquire(") + serving)[0] == 0
    assert asking


def test_a_check_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "asked_for_check.py").write_text(ASKING)
    assert_one_line(run("check", "asked_for_check.py", "--db", "none.sqlite3", cwd=tmp_path), "no database at")
    assert_one_line(run("check", "missing.py", "--db", "none.sqlite3", cwd=tmp_path), "File 'missing.py' not found")
    (tmp_path / "text").write_text("text")
    assert_one_line(run("check", "asked_for_check.py", "--db", "text", cwd=tmp_path), "not a SQLite file")


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_a_database_of_an_earlier_build_is_read_and_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(folder / "runs.sqlite3", tmp_path / "runs.sqlite3")
    before = (tmp_path / "runs.sqlite3").read_bytes()
    done = run("check", str(WORKFLOWS), "--db", "runs.sqlite3", "--json", cwd=tmp_path, PYTHONPATH=str(ROOT))
    found = json.loads(done.stdout)
    assert (done.returncode, found["suspended"]) == (0, []), done.stderr
    assert found["unfinished"] > 0
    (tmp_path / "asked_for_check.py").write_text(ASKING)
    done = run("check", "asked_for_check.py", "--db", "runs.sqlite3", "--json", cwd=tmp_path)
    again = json.loads(done.stdout)
    assert (done.returncode, len(again["suspended"])) == (1, found["unfinished"])
    assert (tmp_path / "runs.sqlite3").read_bytes() == before
    assert [file.name for file in tmp_path.glob("runs.sqlite3*")] == ["runs.sqlite3"]
