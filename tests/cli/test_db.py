"""``workflow-server db`` as it is typed: real processes beside a real server, killed and ended in the middle."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import FLOW, assert_one_line, run
from tests.conftest import StartServer
from tests.harness.plain_http import get_json, post_json
from tests.harness.spawning import clean_environment
from tests.store.making import event, run_ended, run_started
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
    assert (done.returncode, done.stdout) == (0, f"Backed up to 'copy': {size}, 1 handler, 1 unfinished\n")


@pytest.mark.slow(8)
def test_a_database_is_read_beside_its_server_and_cleaned_without_it(
    flows: Path, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(flows, db=tmp_path / "runs.sqlite3")
    waiting = post_json(f"{server.url}/workflows/asking/run-nowait", {})["handler_id"]
    for _ in range(3):
        post_json(f"{server.url}/workflows/flow/run", {})

    checked = run("db", "check", "--db", "runs.sqlite3", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith("'runs.sqlite3' is sound: schema ")
    assert checked.stdout.endswith("4 handlers, 1 unfinished\n")
    stats = json.loads(run("db", "stats", "--db", "runs.sqlite3", "--json", cwd=tmp_path).stdout)
    assert {"workflow": "flow", "status": "completed", "handlers": 3} in stats["handlers"]
    assert run("db", "stats", "--db", "runs.sqlite3", cwd=tmp_path).stdout.count("\n") > len(stats["tables"])
    purge = ("db", "purge", "--older-than", "0s", "--status", "completed", "--db", "runs.sqlite3")
    assert_one_line(run(*purge, cwd=tmp_path), f"process {server.process.pid}")
    assert_one_line(run("db", "vacuum", "--db", "runs.sqlite3", cwd=tmp_path), f"process {server.process.pid}")
    dry = run(*purge, "--dry-run", cwd=tmp_path)
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "Would delete 3 handlers")
    assert server.stop() == 0

    purged = json.loads(run(*purge, "--workflow", "flow", "--json", cwd=tmp_path).stdout)
    assert (purged["dry_run"], purged["handlers"]) == (False, 3)
    vacuumed = json.loads(run("db", "vacuum", "--db", "runs.sqlite3", "--json", cwd=tmp_path).stdout)
    assert vacuumed["before"] >= vacuumed["after"] == (tmp_path / "runs.sqlite3").stat().st_size
    again = start_server(flows, db=tmp_path / "runs.sqlite3")
    assert [found["handler_id"] for found in get_json(f"{again.url}/handlers")["handlers"]] == [waiting]


def test_a_damaged_database_is_told_with_code_1(large: Path) -> None:
    with large.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 4096)
    for command in (("check",), ("backup", "copy"), ("vacuum",)):
        done = run("db", *command, "--db", "large.sqlite3", cwd=large.parent)
        assert (done.returncode, done.stdout) == (1, ""), command
        assert len(done.stderr.splitlines()) == 1
    checked = json.loads(run("db", "check", "--db", "large.sqlite3", "--json", cwd=large.parent).stdout)
    assert (checked["sound"], "damaged" in checked["problem"]) == (False, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--older-than", "30"), "expected a number with a unit"),
        (("--older-than", "-1d"), "expected a number with a unit"),
        (("--older-than", "1.5d"), "expected a number with a unit"),
        (("--older-than", "1d", "--status", "running"), "add --running"),
        (("--older-than", "1d", "--status", "done"), "'done' is not one of"),
        (("--status", "completed"), "Missing option '--older-than'"),
    ],
)
def test_a_mistaken_purge_deletes_nothing(large: Path, options: tuple[str, ...], said: str) -> None:
    before = large.read_bytes()
    status = () if "--status" in options else ("--status", "completed")
    done = run("db", "purge", *options, *status, "--db", "large.sqlite3", cwd=large.parent)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert large.read_bytes() == before


def test_running_runs_are_deleted_where_that_is_allowed(large: Path) -> None:
    purge = ("db", "purge", "--older-than", "1d", "--status", "running", "--running", "--db", "large.sqlite3")
    done = run(*purge, cwd=large.parent)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "Deleted 1 handler")


@pytest.fixture
async def many(tmp_path: Path) -> Path:
    """A database of 1,000 handlers that have ended and one that has not; nobody has it open."""
    path = tmp_path / "many.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("kept"), event("kept", 0))
    for number in range(1_000):
        name = f"ended-{number}"
        await store.append(run_started(name), event(name, 0, data=f'"{"x" * 9_000}"'), run_ended(name))
    await store.close()
    return path


def handlers(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM handlers").fetchone()[0])


@pytest.mark.slow(8)
@pytest.mark.parametrize("size", [1, 8_000_000, 30_000_000])
def test_a_vacuum_that_is_killed_leaves_the_database_as_it_was(large: Path, size: int) -> None:
    command = [sys.executable, "-m", "workflow_server", "db", "vacuum", "--db", "large.sqlite3"]
    process = subprocess.Popen(command, cwd=large.parent, env=clean_environment(), stdout=subprocess.DEVNULL)
    log = large.with_name("large.sqlite3-wal")
    while process.poll() is None and not (log.exists() and log.stat().st_size >= size):
        time.sleep(0.001)
    process.kill()
    assert process.wait(timeout=60) in (-9, 0)
    assert run("db", "check", "--db", "large.sqlite3", cwd=large.parent).returncode == 0
    stats = json.loads(run("db", "stats", "--db", "large.sqlite3", "--json", cwd=large.parent).stdout)
    assert {table["rows"] for table in stats["tables"] if table["table"] == "event_log"} == {LARGE}


@pytest.mark.slow(8)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_purge_that_is_ended_in_the_middle_is_finished_by_the_next(many: Path, number: signal.Signals) -> None:
    purge = ("db", "purge", "--older-than", "1d", "--status", "completed", "--db", "many.sqlite3")
    command = [sys.executable, "-m", "workflow_server", *purge]
    process = subprocess.Popen(command, cwd=many.parent, env=clean_environment(), stdout=subprocess.DEVNULL)
    while process.poll() is None and handlers(many) > 900:
        time.sleep(0.001)
    process.send_signal(number)
    assert process.wait(timeout=60) in (-9, 143, 0)
    assert run("db", "check", "--db", "many.sqlite3", cwd=many.parent).returncode == 0
    done = run(*purge, cwd=many.parent)
    assert done.returncode == 0, done.stderr
    stats = json.loads(run("db", "stats", "--db", "many.sqlite3", "--json", cwd=many.parent).stdout)
    assert stats["handlers"] == [{"workflow": "flow", "status": "running", "handlers": 1}]
    assert {table["rows"] for table in stats["tables"] if table["table"] in ("handlers", "event_log")} == {1}
