"""``workflow-server runs`` and ``workflows`` as they are typed, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from tests.cli.test_cli import run
from tests.conftest import ServerProcess, StartServer
from tests.harness.certificates import certificate
from tests.harness.plain_http import get_json
from tests.harness.spawning import clean_environment, printed
from workflow_server.cli.many import Action
from workflow_server.cli.remote import Query, Remote
from workflow_server.cli.runs import _row

FLOWS = """
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

class Answer(HumanResponseEvent):
    text: str

class Ask(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prefix="\\x9b31mred?")

    @step
    async def take(self, ev: Answer) -> StopEvent:
        if ev.text == "no":
            raise ValueError("refused")
        return StopEvent(result={"said": ev.text})

class Echo(Workflow):
    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=dict(ev.items()))

ask = Ask(timeout=None)
echo = Echo()
"""


@pytest.fixture
def server(tmp_path: Path, start_server: StartServer) -> ServerProcess:
    (tmp_path / "flows.py").write_text(FLOWS)
    return start_server(tmp_path / "flows.py")


class Typed:
    """The command, for one server."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = run(*arguments, cwd=self._folder, WORKFLOW_SERVER_URL=self._url)
        assert done.returncode == code, done.stderr
        return done

    def lines(self, *arguments: str) -> list[dict[str, object]]:
        """The JSON lines that the command prints with ``--json``."""
        return [json.loads(line) for line in self(*arguments, "--json").stdout.splitlines()]

    def started(self, *arguments: str) -> str:
        """The handler that the command has started."""
        return self("runs", "start", *arguments).stdout.strip()


@pytest.fixture
def typed(server: ServerProcess, tmp_path: Path) -> Typed:
    return Typed(server.url, tmp_path)


@pytest.mark.slow(15)
def test_runs_are_started_found_answered_and_shown(typed: Typed) -> None:
    done = typed("runs", "start", "echo", "-f", "n=1", "-f", "text=a=b", "--tag", "team", "--wait")
    assert json.loads(done.stdout) == {"result": {"n": 1, "text": "a=b"}}
    assert "echo: running" in done.stderr
    asking = typed.started("ask")
    (newest, oldest) = typed.lines("runs", "list")
    assert (newest["handler_id"], newest["status"], oldest["tags"]) == (asking, "running", ["team"])
    assert typed.lines("runs", "list", "--tag", "team", "--since", "1h") == [oldest]
    assert typed.lines("runs", "list", "--until", "1h") == []
    assert typed.lines("runs", "list", "--limit", "1") == [newest]
    table = typed("runs", "list", "--status", "running").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["HANDLER", asking]
    assert "waiting for Answer" in table[1]
    (shown,) = typed.lines("runs", "list", "--limit", "1", "--now")
    assert cast("dict[str, object]", shown.pop("now"))["state"] == "waiting"
    assert shown == newest
    assert "waiting for" in typed("runs", "show", asking).stdout
    assert typed("runs", "send", asking, "Answer", "-f", "text=yes").stdout == "sent\n"
    assert typed("runs", "watch", asking).stdout.splitlines()[-1].endswith('StopEvent {"result": {"said": "yes"}}')
    assert typed.lines("runs", "show", asking)[0]["status"] == "completed"


@pytest.mark.slow(10)
def test_what_servers_refuse_is_a_line_and_a_failed_run_a_code(typed: Typed) -> None:
    asking = typed.started("ask")
    assert_refused(typed("runs", "show", "nobody", code=1), "(404): Handler 'nobody' not found.")
    assert_refused(typed("runs", "start", "nothing", code=1), "(404)")
    assert_refused(typed("runs", "show", "stats", code=1), "(404): Handler 'stats' not found.")
    both = typed("runs", "cancel", "nobody", asking, code=1)
    assert (both.stdout, "(404)" in both.stderr) == (f"{asking} cancelled\n", True)
    asking = typed.started("ask", "-f", "deep=" + "[" * 10_000)
    assert_refused(typed("runs", "send", asking, "Answer", "-f", "text=1", code=1), "(400)")
    typed("runs", "send", asking, "Answer", "-f", "text=no")
    watched = typed("runs", "watch", asking, code=1)
    assert watched.stderr.splitlines()[-1] == f"{asking} failed: ValueError: refused in step take"
    assert "\x9b" not in watched.stdout, "an event writes nothing to the terminal"
    assert "\\x9b31mred?" in watched.stdout


def assert_refused(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)
    assert said in done.stderr


@pytest.mark.slow(10)
def test_many_runs_are_cancelled_and_deleted_by_filters(typed: Typed, server: ServerProcess) -> None:
    asking = [typed.started("ask", "--tag", "bad") for _ in range(2)]
    over = typed.started("echo")
    dry = typed("runs", "cancel", "--tag", "bad", "--dry-run")
    assert dry.stdout.splitlines() == [f"{handler_id} would be cancelled" for handler_id in asking]
    asked = typed("runs", "cancel", "--tag", "bad", code=1)
    assert "2 handlers match. Shall they be cancelled?" in asked.stderr, "without a terminal, nobody says yes"
    assert get_json(f"{server.url}/handlers/stats")["total"]["running"] == 2
    done = typed.lines("runs", "cancel", "--tag", "bad", "--yes")
    assert done == [{"handler_id": handler_id, "status": "cancelled"} for handler_id in asking]
    assert "Add running=true" in typed("runs", "purge", "--workflow", "ask", "--yes", code=1).stderr
    assert typed("runs", "purge", over).stdout == f"{over} deleted\n"
    typed("runs", "purge", "--status", "cancelled", "--yes")
    assert typed.lines("runs", "list") == []


@pytest.mark.slow(10)
def test_a_run_is_watched_through_a_kill_of_the_server(
    typed: Typed, server: ServerProcess, tmp_path: Path, start_server: StartServer
) -> None:
    asking = typed.started("ask")
    command = [sys.executable, "-m", "workflow_server", "runs", "watch", asking, "--url", server.url, "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=clean_environment()
    ) as watching:
        lines: list[str] = []
        while not lines or json.loads(lines[-1])["type"] != "InputRequiredEvent":
            lines.append(printed(watching).readline())
        server.kill()
        start_server(tmp_path / "flows.py", port=server.port)
        typed("runs", "send", asking, "Answer", "-f", "text=yes")
        # The end of stdout is that of the process. ``communicate`` would lose what is in its buffer.
        rest = printed(watching).read()
        assert watching.stderr is not None
        told = watching.stderr.read()
    seen = [json.loads(line)["sequence"] for line in [*lines, *rest.splitlines()]]
    assert seen == list(range(len(seen)))
    assert "trying again until the server answers" in told
    assert (told.splitlines()[-1], watching.returncode) == (f"{asking} completed", 0)


@pytest.mark.slow(10)
def test_what_is_printed_writes_nothing_to_the_terminal(typed: Typed) -> None:
    done = typed("runs", "start", "echo", "-f", "text=\x9b31m\u202e\x7f", "--wait")
    assert json.loads(done.stdout) == {"result": {"text": "\x9b31m\u202e\x7f"}}
    (handler,) = typed.lines("runs", "list")
    for shown in (done, typed("runs", "watch", str(handler["handler_id"]), "--json"), typed("runs", "list", "--json")):
        assert not {"\x9b", "\u202e", "\x7f"} & {*shown.stdout, *shown.stderr}


@pytest.mark.slow(5)
def test_a_server_of_another_kind_is_one_error(tmp_path: Path) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html></html>")

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        done = run("runs", "list", "--url", f"http://127.0.0.1:{other.server_port}", cwd=tmp_path)
        other.shutdown()
    assert (done.returncode, done.stdout) == (1, "")
    assert "is this its URL?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_handler_that_was_never_started_has_a_row() -> None:
    """One that a program put into the store: it has no start."""
    handler = {
        "handler_id": "h",
        "workflow_name": "w",
        "status": "completed",
        "now": {"state": None},
        "tags": ["a", "b"],
    }
    assert _row({**handler, "started_at": ""}) == ("h", "w", "completed", "", "", "a, b")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"state": "waiting", "waiting_for": [{"event": "Answer"}], "waiting_count": 1}, "waiting for Answer"),
        ({"state": "running", "running_steps": [{"step": "work"}] * 3, "running_count": 3}, "in work and 2 more"),
        ({"state": "running", "running_steps": []}, "running"),
        ({"state": "suspended"}, "suspended"),
    ],
)
def test_a_row_tells_what_a_run_does(now: dict[str, object], told: str) -> None:
    handler = {"handler_id": "h", "workflow_name": "w", "status": "running", "now": now, "tags": [], "started_at": ""}
    assert _row(handler)[3] == told


async def test_many_pages_are_acted_on_to_the_last() -> None:
    asked: list[str] = []

    class Pages:
        async def post(self, *path: str, query: Query) -> dict[str, object]:
            assert path == ("bulk", "cancel")
            asked.append(dict(query)["cursor"])
            return {"handler_ids": [f"h{len(asked)}"], "next_cursor": [None, "three", "two"][-len(asked)]}

    action = Action("deleted", running=False)
    done = [one async for one in action.to_matching(cast(Remote, Pages()), [("tag", "a")], dry_run=False)]
    assert (done, asked) == (["h1", "h2", "h3"], ["", "two", "three"])


def test_a_refusal_without_a_token_says_where_it_belongs(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    server = start_server(tmp_path / "flows.py", env={"WORKFLOW_SERVER_TOKENS": "a-token-of-this-test"})
    done = run("workflows", "list", "--url", server.url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("This command takes it from WORKFLOW_SERVER_TOKEN.\n")


@pytest.mark.slow(15)
def test_a_limited_rate_is_waited_for(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    typed = Typed(start_server(tmp_path / "flows.py", "--max-requests-per-second", "2").url, tmp_path)
    assert typed("runs", "start", "echo", "--wait").stdout
    assert len(typed("runs", "export", "--all").stdout.splitlines()) > 3
    handlers = [str(handler["handler_id"]) for handler in typed.lines("runs", "list")]
    assert typed("runs", "purge", *handlers).stdout == f"{handlers[0]} deleted\n"


def test_workflows_are_listed_and_described(typed: Typed) -> None:
    assert [line.split()[0] for line in typed("workflows", "list").stdout.splitlines()] == ["WORKFLOW", "ask", "echo"]
    assert typed.lines("workflows", "list")[0] == {
        "workflow": "ask", "running": 0, "completed": 0, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert "StartEvent -> echo -> StopEvent" in typed("workflows", "show", "echo").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("runs", "list", "--since", "yesterday"), "Invalid value for '--since': expected a number with a unit"),
        (("runs", "list", "--url", "localhost"), "Invalid value for '--url': expected http://HOST:PORT"),
        (("runs", "start", "x", "-f", "n"), "expected NAME=VALUE"),
        (("runs", "cancel"), "Give the ids of handlers, or at least one filter"),
        (("runs", "cancel", "a", "--tag", "b"), "Give the ids of handlers, or at least one filter"),
        (("runs", "purge", "a", "--dry-run"), "--dry-run is for filters"),
        (("runs", "purge", "--status", "completed", "--tag", "", "--yes"), "A filter is empty"),
        (("runs", "list", "--token", "a\nb"), "expected visible ASCII characters"),
    ],
)
def test_what_is_typed_wrong_is_told(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())


@pytest.mark.slow(12)
def test_a_server_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    done = run("runs", "list", "--url", "http://127.0.0.1:9", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    first, last = done.stderr.splitlines()
    assert first.startswith("workflow-server: no server answers at http://127.0.0.1:9")
    assert first.endswith("trying again for 10 s")
    assert "no server answers" in last


FAILING = """
from pathlib import Path

from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Nightly(Workflow):
    @step
    async def load(self, ev: StartEvent) -> StopEvent:
        if not Path("mended").exists():
            raise ValueError("not mended")
        return StopEvent(result="loaded")

nightly = Nightly(timeout=None)
"""


@pytest.mark.slow(20)
def test_runs_are_retried_by_id_and_by_filters(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(FAILING)
    typed = Typed(start_server(tmp_path / "flows.py").url, tmp_path)
    failed = [typed.started("nightly") for _ in range(3)]
    typed("runs", "watch", failed[-1], code=1)
    assert typed("runs", "retry", failed[0]).stdout == f"{failed[0]} retried\n"
    typed("runs", "watch", failed[0], code=1)
    (tmp_path / "mended").touch()
    both = typed("runs", "retry", "nobody", failed[0], code=1)
    assert (both.stdout, "(404)" in both.stderr) == (f"{failed[0]} retried\n", True)
    typed("runs", "watch", failed[0])
    assert "(409)" in typed("runs", "retry", failed[0], code=1).stderr
    fork = typed("runs", "retry", failed[1], "--fork", "--from-step", "load").stdout.split()[0]
    assert fork not in failed
    typed("runs", "watch", fork)
    asked = typed("runs", "retry", "--workflow", "nightly", code=1)
    assert "2 handlers match. Shall they be retried?" in asked.stderr, "without a terminal, nobody says yes"
    dry = typed("runs", "retry", "--workflow", "nightly", "--dry-run")
    assert dry.stdout.splitlines() == [f"{handler_id} would be retried" for handler_id in failed[1:]]
    refused = typed("runs", "retry", "--workflow", "nightly", "--from-step", "other", "--yes", code=1)
    assert refused.stderr.count("no step 'other'") == 2
    assert refused.stderr.endswith("0 retried\n")
    done = typed.lines("runs", "retry", "--workflow", "nightly", "--yes")
    assert done == [{"handler_id": handler_id, "status": "retried"} for handler_id in failed[1:]]
    for handler_id in failed:
        typed("runs", "watch", handler_id)


def test_a_url_without_tls_of_a_server_with_it_is_told(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    cert, key = certificate(tmp_path, "own")
    server = start_server(tmp_path / "flows.py", "--tls-cert", str(cert), "--tls-key", str(key))
    done = run("workflows", "list", "--url", server.url.replace("https", "http"), cwd=tmp_path)
    assert (done.returncode, "not https://" in done.stderr) == (1, True), done.stderr
