"""``workflow-server db`` as it is typed: real processes beside a real server, killed and ended in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import FLOW, assert_one_line, run
from tests.conftest import StartServer
from tests.harness.plain_http import get_json, post_json
from tests.harness.spawning import clean_environment
from tests.store.making import event, run_started
from workflow_server.store import SqliteWorkflowStore

ASKING = (
    FLOW
    + """
from workflows import Context
from workflows.events import HumanResponseEvent

class Asking(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(HumanResponseEvent)
        return StopEvent()

asking = Asking()
"""
)
LARGE = 32
"""Megabytes of a database whose copy takes a while."""


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows_for_db.py"
    path.write_text(ASKING)
    return path


@pytest.fixture
async def large(tmp_path: Path) -> Path:
    """A database that nobody has open."""
    path = tmp_path / "large.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"))
    for number in range(LARGE):
        await store.append(event("a", number, data="x" * 1_000_000))
    await store.close()
    return path


class Load:
    """Threads that start runs, one after the other each, and note those that were acknowledged."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[str] = []
        self.failures: list[Exception] = []
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._start_runs, args=(name,)) for name in ("flow", "asking") * 2]

    @contextmanager
    def going(self) -> Iterator[Load]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def until(self, count: int) -> None:
        """Return when so many runs are acknowledged."""
        while len(self.acknowledged) < count and not self.failures:
            time.sleep(0.01)

    def _start_runs(self, name: str) -> None:
        while not self._stop.is_set():
            try:
                started = post_json(f"{self._url}/workflows/{name}/run-nowait", {})
            except Exception as error:
                self.failures.append(error)
                return
            self.acknowledged.append(started["handler_id"])


def status(url: str, handler_id: str) -> int:
    """The status code of GET for a handler: 404 where there is none."""
    try:
        with urllib.request.urlopen(f"{url}/handlers/{handler_id}", timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def back_up(folder: Path, name: str, before: list[str]) -> None:
    """Back up ``runs.sqlite3`` under this name; it has to have the handlers of before."""
    done = run("db", "backup", name, "--db", "runs.sqlite3", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["handlers"] >= len(before)


@pytest.mark.slow(15)
def test_a_backup_beside_a_server_holds_every_acknowledged_run(
    flows: Path, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(flows, db=tmp_path / "runs.sqlite3")
    load = Load(server.url)
    with load.going():
        load.until(40)
        during = list(load.acknowledged)
        back_up(tmp_path, "during.sqlite3", during)
        load.until(len(load.acknowledged) + 10)
    assert load.failures == [], "the server went on without an error"
    # By now no commit follows: the last ones are in the log alone.
    back_up(tmp_path, "after.sqlite3", load.acknowledged)
    server.kill()
    for before, backup in ((during, "during.sqlite3"), (load.acknowledged, "after.sqlite3")):
        done = run("db", "restore", backup, "--db", f"restored-{backup}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        again = start_server(flows, db=tmp_path / f"restored-{backup}")
        assert {status(again.url, handler_id) for handler_id in before} <= {200, 202}
        assert again.stop() == 0


def partial(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def ended_in_the_middle(folder: Path, number: signal.Signals) -> int:
    """The exit code of a backup that got this signal when it had written something, but not all."""
    copy = folder / "copies" / "copy.sqlite3"
    code = 0
    while code == 0:
        # The one before was through when its signal came.
        copy.unlink(missing_ok=True)
        process = begun(folder)
        process.send_signal(number)
        code = process.wait(timeout=60)
    return code


def begun(folder: Path) -> subprocess.Popen[bytes]:
    """A backup that has written something."""
    command = [sys.executable, "-m", "workflow_server", "db", "backup", "copies/copy.sqlite3", "--db", "large.sqlite3"]
    process = subprocess.Popen(command, cwd=folder, env=clean_environment())
    while process.poll() is None and not any(file.stat().st_size for file in partial(folder / "copies")):
        time.sleep(0.001)
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_backup_that_is_ended_in_the_middle_leaves_no_half_file(large: Path, number: signal.Signals) -> None:
    folder = large.parent / "copies"
    folder.mkdir()
    code = ended_in_the_middle(large.parent, number)
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[number]
    assert not (folder / "copy.sqlite3").exists()
    assert len(partial(folder)) == (number == signal.SIGKILL), "only a process that is killed leaves its own file"
    done = run("db", "backup", "copies/copy.sqlite3", "--db", "large.sqlite3", cwd=large.parent)
    assert (done.returncode, (folder / "copy.sqlite3").stat().st_size) == (0, large.stat().st_size)


def test_a_refused_copy_is_one_line_with_its_code(flows: Path, tmp_path: Path, start_server: StartServer) -> None:
    server = start_server(flows, db=tmp_path / "runs.sqlite3")
    (tmp_path / "kept").write_text("kept")
    assert_one_line(run("db", "backup", "kept", "--db", "runs.sqlite3", cwd=tmp_path), "it exists")
    assert_one_line(run("db", "backup", "copy", "--db", "none.sqlite3", cwd=tmp_path), "no database at")
    assert_one_line(run("db", "backup", "copy", "--db", "kept", cwd=tmp_path), "not a SQLite file")
    assert_one_line(run("db", "restore", "kept", "--db", "new.sqlite3", cwd=tmp_path), "not a SQLite file")
    assert_one_line(run("db", "restore", "runs.sqlite3", "--db", "runs.sqlite3", cwd=tmp_path), "it exists")
    assert (tmp_path / "kept").read_text() == "kept"
    assert not (tmp_path / "copy").exists()
    assert get_json(f"{server.url}/health")["status"] == "healthy"


def test_the_database_is_named_by_the_settings(large: Path) -> None:
    (large.parent / "server.toml").write_text('host = "0.0.0.0"\ndb = "large.sqlite3"\n')
    done = run("db", "backup", "copy", "--config", "server.toml", cwd=large.parent)
    size = f"{large.stat().st_size / 1e6:.1f} MB"
    assert (done.returncode, done.stdout) == (0, f"Backed up to 'copy': {size}, 1 handlers, 1 unfinished\n")
