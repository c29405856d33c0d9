"""Completion in a real bash, of commands, files and what a server has."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.test_cli import run
from tests.conftest import ServerProcess, StartServer
from tests.harness.spawning import ROOT, clean_environment

FLOWS = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Echo(Workflow):
    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        return StopEvent()

echo = Echo()
other = Echo()
"""
COMPLETED = """
source ./script
COMP_WORDS=({words}) COMP_CWORD={index}
_workflow_server_completion ./workflow-server
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


class Shell:
    """A bash in which the command and its completion are installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = folder / "workflow-server"
        command.write_text(
            f"#!{sys.executable}\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n"
            "from workflow_server.cli.main import main\nmain(prog_name='workflow-server')\n"
        )
        command.chmod(0o755)
        (folder / "script").write_text(run("completion", "bash", cwd=folder).stdout)

    def completed(self, *words: str, **environment: str) -> list[str]:
        """Return what the last of these words may become."""
        script = COMPLETED.format(words=" ".join(f"'{word}'" for word in words), index=len(words) - 1)
        # Completion in a script has no `compopt`: it belongs to the keys of a terminal.
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", f'compopt() {{ echo compopt "$@"; }}\n{script}'],
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=clean_environment() | environment,
            check=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]

    def asked(self, shell: str, *words: str, **environment: str) -> str:
        """Return what the command tells the script of a shell about the word behind these."""
        asking = {"_WORKFLOW_SERVER_COMPLETE": f"{shell}_complete", "COMP_WORDS": " ".join(words)}
        done = subprocess.run(
            ["./workflow-server"],
            capture_output=True,
            text=True,
            cwd=self._folder,
            env=clean_environment() | asking | {"COMP_CWORD": str(len(words))} | environment,
            check=True,
            timeout=60,
        )
        assert done.stderr == ""
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_commands_and_options_are_completed(shell: Shell) -> None:
    assert shell.completed("workflow-server", "ru") == ["runs"]
    assert shell.completed("workflow-server", "serve", "flows.py", "--allow-n") == ["--allow-network-filesystem"]


def test_a_target_is_completed_as_a_file(shell: Shell) -> None:
    assert shell.completed("workflow-server", "serve", "fl")[0] == "compopt -o default"


def test_names_of_a_server_are_completed(shell: Shell, tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    server = start_server(tmp_path / "flows.py")
    first, second = (_started(server, tmp_path) for _ in range(2))
    assert shell.completed("workflow-server", "runs", "start", "", WORKFLOW_SERVER_URL=server.url) == ["echo", "other"]
    assert shell.completed("workflow-server", "workflows", "show", "--url", server.url, "o") == ["other"]
    assert shell.completed("workflow-server", "runs", "show", first, WORKFLOW_SERVER_URL=server.url) == [first]
    found = shell.completed("workflow-server", "runs", "purge", "", WORKFLOW_SERVER_URL=server.url)
    assert sorted(found) == sorted([first, second])


def _started(server: ServerProcess, folder: Path) -> str:
    started = run("runs", "start", "echo", "--url", server.url, "--json", cwd=folder)
    return str(json.loads(started.stdout)["handler_id"])


@pytest.mark.parametrize("answer", ["[1]", '{"handlers": [7]}', '{"handlers": [{"handler_id": 7}]}', "{}"])
def test_an_answer_of_another_shape_completes_nothing(shell: Shell, answer: str) -> None:
    with answering(answer) as url:
        assert shell.completed("workflow-server", "runs", "show", "", WORKFLOW_SERVER_URL=url) == [""]


def test_only_plain_names_come_to_the_shell(shell: Shell) -> None:
    hostile = ["a; true", "a\nplain,b", "$(true)", "\x1b[31mred", "--yes", "*", "fine-1"]
    handlers = [{"handler_id": name, "workflow_name": "w\nplain\nx", "status": "\x1b[31m"} for name in hostile]
    with answering(json.dumps({"handlers": handlers})) as url:
        assert shell.completed("workflow-server", "runs", "show", "", WORKFLOW_SERVER_URL=url) == ["fine-1"]
        told = shell.asked("zsh", "workflow-server", "runs", "show", WORKFLOW_SERVER_URL=url)
    assert told == "plain\nfine-1\nw\\nplain\\nx, \\x1b[31m\n"


@contextmanager
def answering(body: str) -> Iterator[str]:
    """A server that gives this answer to everything; its URL."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_server_that_does_not_answer_completes_nothing(shell: Shell) -> None:
    nowhere = "http://127.0.0.1:9"
    assert shell.completed("workflow-server", "runs", "show", "", WORKFLOW_SERVER_URL=nowhere) == [""]


@pytest.mark.parametrize(
    ("name", "begins"), [("zsh", "#compdef workflow-server"), ("fish", "function _workflow_server")]
)
def test_other_shells_have_their_scripts(name: str, begins: str, tmp_path: Path) -> None:
    assert run("completion", name, cwd=tmp_path).stdout.startswith(begins)
