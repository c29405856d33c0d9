"""The command as it is typed: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import StartServer
from tests.harness.plain_http import get_json
from tests.harness.spawning import clean_environment
from workflow_server.cli.main import main
from workflow_server.cli.options import NOT_OPTIONS, SINGULAR
from workflow_server.settings import Settings

FLOW = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Flow(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=1)

flow = Flow()
"""


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows_for_cli.py"
    path.write_text(FLOW)
    return path


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workflow_server", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean_environment() | env,
        timeout=60,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr


def test_serve_says_what_it_serves_and_sigterm_ends_it_with_0(
    flows: Path, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(flows, db=tmp_path / "runs.sqlite3")

    assert get_json(f"{server.url}/workflows") == {"workflows": ["flow"]}
    assert server.process.stdout is not None
    told = [server.process.stdout.readline() for _ in range(3)]
    assert "runs.sqlite3" in told[0]
    assert "flow" in told[1]
    assert "0 runs" in told[2]
    assert server.stop() == 0
    assert (tmp_path / "runs.sqlite3").exists()


def test_sigint_ends_it_too(flows: Path, start_server: StartServer) -> None:
    server = start_server(flows)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0


def test_the_environment_is_obeyed_by_a_server_of_the_targets_own(tmp_path: Path, start_server: StartServer) -> None:
    target = tmp_path / "own_server.py"
    target.write_text(
        f"from workflow_server import WorkflowServer\n{FLOW}\nserver = WorkflowServer()\nserver.add_workflow('f', flow)"
    )
    server = start_server(target, db=tmp_path / "given.sqlite3")

    assert get_json(f"{server.url}/workflows") == {"workflows": ["f"]}
    assert (tmp_path / "given.sqlite3").exists()


def test_a_database_that_does_not_apply_is_told(tmp_path: Path, start_server: StartServer) -> None:
    store = "from workflow_server import SqliteWorkflowStore, WorkflowServer\n"
    made = f"{store}server = WorkflowServer(workflow_store=SqliteWorkflowStore('own.db'))\n"
    (tmp_path / "own.py").write_text(f"{FLOW}{made}server.add_workflow('flow', flow)\n")
    server = start_server(f"{tmp_path}/own.py:server", db=tmp_path / "other.db")
    assert "TARGET has a store of its own: --db does not apply" in server.log.read_text()
    assert ((tmp_path / "own.db").exists(), (tmp_path / "other.db").exists()) == (True, False)


def test_a_port_in_use_is_one_line(flows: Path, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        assert_one_line(run("serve", str(flows), "--port", port, cwd=tmp_path), f"Port {port}")


def test_a_host_that_is_not_here_is_one_line(flows: Path, tmp_path: Path) -> None:
    done = run("serve", str(flows), "--host", "192.0.2.1", "--insecure", cwd=tmp_path)
    assert_one_line(done, "192.0.2.1")


def test_a_database_in_a_missing_folder_is_one_line(flows: Path, tmp_path: Path) -> None:
    assert_one_line(run("serve", str(flows), "--port", "0", "--db", "none/runs.sqlite3", cwd=tmp_path), "folder")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("length", [253, 300])
def test_a_database_with_a_name_that_is_too_long_is_one_line(flows: Path, tmp_path: Path, length: int) -> None:
    done = run("serve", str(flows), "--port", "0", "--db", "d" * length, cwd=tmp_path)
    assert_one_line(done, "File name too long")


def test_a_database_in_a_loop_of_links_is_one_line(flows: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert_one_line(run("serve", str(flows), "--port", "0", "--db", "loop", cwd=tmp_path), "'db'")


def test_a_database_that_another_server_holds_is_one_line(
    flows: Path, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(flows, db=tmp_path / "held.sqlite3")
    done = run("serve", str(flows), "--port", "0", "--db", str(tmp_path / "held.sqlite3"), cwd=tmp_path)
    assert_one_line(done, "held.sqlite3")
    assert server.process.poll() is None


def test_a_foreign_file_as_database_is_one_line_and_left_untouched(flows: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not a database, but what somebody wrote\n" * 100)
    before = foreign.read_bytes()

    assert_one_line(run("serve", str(flows), "--port", "0", "--db", str(foreign), cwd=tmp_path), "notes.txt")

    assert foreign.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "no workflows"),
        (f"{FLOW}\nother = Flow(workflow_name='flow')", "'flow'"),
        (f"{FLOW}\nflows = {{'a b': Flow()}}", "'a b'"),
        ("from workflow_server import WorkflowServer\nserver = WorkflowServer()", "no workflows"),
    ],
)
def test_a_target_that_cannot_be_served_is_one_line(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "bad_flows.py").write_text(code)
    assert_one_line(run("serve", "bad_flows.py", "--port", "0", cwd=tmp_path), said)
    assert not list(tmp_path.glob("*.sqlite3*"))


def test_an_error_in_the_target_shows_its_traceback_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "broken_flows.py").write_text("1 / 0\n")
    done = run("serve", "broken_flows.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr
    assert "workflow_server/" not in done.stderr


def test_a_bad_setting_is_one_line_wherever_it_comes_from(flows: Path, tmp_path: Path) -> None:
    assert_one_line(run("serve", str(flows), "--port", "eighty", cwd=tmp_path), "'port'")
    assert_one_line(run("serve", str(flows), cwd=tmp_path, WORKFLOW_SERVER_HEARTBEAT="soon"), "HEARTBEAT")
    assert_one_line(run("serve", str(flows), "--host", "0.0.0.0", cwd=tmp_path), "WORKFLOW_SERVER_TOKENS")


def test_openapi_prints_the_contract_and_touches_no_database(flows: Path, tmp_path: Path) -> None:
    printed = run("openapi", cwd=tmp_path)
    written = run("openapi", str(flows), "--output", "contract.json", cwd=tmp_path)

    assert (printed.returncode, written.returncode, written.stdout) == (0, 0, "")
    assert json.loads(printed.stdout)["openapi"].startswith("3.1")
    assert json.loads((tmp_path / "contract.json").read_text())["openapi"].startswith("3.1")
    assert not list(tmp_path.glob("*.sqlite3*"))


def test_version_names_the_installed_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("workflow-server, version 0.")


def test_without_docstrings_and_asserts_the_command_serves_runs(flows: Path, start_server: StartServer) -> None:
    server = start_server(flows, command=(sys.executable, "-OO", "-m", "workflow_server"))
    ended = get_json(urllib.request.Request(f"{server.url}/workflows/flow/run", method="POST"))
    assert (ended["status"], ended["result"]["value"]) == ("completed", {"result": 1})
    assert server.stop() == 0


@pytest.mark.parametrize(
    "arguments", [("openapi",), ("--help",), ("serve", "--help"), ("serve", "missing.py"), ("db", "purge", "--help")]
)
def test_without_docstrings_the_command_says_the_same(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    said = [
        subprocess.run(
            [sys.executable, *optimized, "-m", "workflow_server", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment(),
            timeout=60,
        )
        for optimized in ([], ["-OO"])
    ]
    plain, without = ((done.returncode, done.stdout, done.stderr) for done in said)
    assert without == plain


def test_every_setting_but_the_secrets_has_an_option() -> None:
    text = CliRunner().invoke(main, ["serve", "--help"]).output
    for name in Settings.model_fields:
        flag = SINGULAR.get(name, f"--{name.replace('_', '-')}")
        assert (f" {flag} " in text) is (name not in NOT_OPTIONS), flag
