"""The unfinished runs of a database, read beside its server: the same from any schema, and in bounded batches."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness.spawning import ROOT
from tests.store.making import run_ended, run_started
from workflow_server.records import InboxPosted, StatePatched, StateReplaced, StoredRun, TickAppended
from workflow_server.store.sqlite import unfinished
from workflow_server.store.sqlite.exceptions import DatabaseNewer
from workflow_server.store.sqlite.store import SqliteWorkflowStore
from workflow_server.store.sqlite.unfinished import unfinished_runs

FIXTURES = sorted(folder for folder in (ROOT / "tests" / "upgrades" / "fixtures").iterdir() if folder.is_dir())


def read(path: Path) -> list[StoredRun]:
    with unfinished_runs(path) as runs:
        found = list(runs)
        assert len(runs) == len(found)
    return found


async def loaded(path: Path, handler_ids: list[str]) -> list[StoredRun | None]:
    """The same runs as a server reads them, which migrates the database."""
    store = SqliteWorkflowStore(path)
    await store.open()
    try:
        return [await store.load_run(handler_id) for handler_id in handler_ids]
    finally:
        await store.close()


async def test_runs_are_read_while_a_server_has_them_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "AT_ONCE", 2)
    path = tmp_path / "runs.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    for name in "abcde":
        posted = InboxPosted(ord(name), name, f"{name}-1", "{}", None, "m.E", 2)
        patches = StateReplaced(f"{name}-1", -1, "{}"), StatePatched(f"{name}-1", 0, "[]")
        await store.append(run_started(name), TickAppended(f"{name}-1", 0, "{}"), *patches, posted)
    await store.append(run_ended("b"))
    names = ["a", "c", "d", "e"]
    assert read(path) == [await store.load_run(name) for name in names]
    with unfinished_runs(path) as runs:
        found = iter(runs)
        assert next(found).handler_id == "a"
        # One that ends meanwhile is left out; what was read before is not read again.
        await store.append(run_ended("d"))
        assert [run.handler_id for run in found] == ["c", "e"]
    await store.close()


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
async def test_runs_of_an_older_schema_are_read_as_after_its_migration(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    shutil.copyfile(folder / "runs.sqlite3", path)
    path.chmod(0o600)
    before = path.read_bytes()
    found = read(path)
    assert found
    assert path.read_bytes() == before
    migrated = await loaded(path, [run.handler_id for run in found])
    # Events are not copied, and the clocks of a start are shifted.
    assert [compared(run) for run in found] == [run and compared(run) for run in migrated]


def compared(run: StoredRun) -> StoredRun:
    return run._replace(last_sequence=0, last_time=None, alive_since=None)


async def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', 'x', 0.0)")
    with pytest.raises(DatabaseNewer):
        read(path)
