"""A damaged or altered database is refused, and stays as it is."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from workflow_server.store import HandlerQuery, SqliteWorkflowStore
from workflow_server.store.sqlite import integrity as examination
from workflow_server.store.sqlite.exceptions import DatabaseAltered, DatabaseDamaged, DiskFailed
from workflow_server.store.sqlite.migrations import APPLICATION_ID

from .files import edit, made
from .making import event, run_started


def damage(path: Path) -> None:
    """Overwrite the middle of the file, past the schema."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 8192)


@pytest.mark.parametrize("clean_stop", [0, 1])
async def test_a_damaged_file_is_refused_untouched(path: Path, clean_stop: int) -> None:
    await made(path)
    edit(path, f"UPDATE server SET clean_stop = {clean_stop}")
    damage(path)
    before = path.read_bytes()
    with pytest.raises(DatabaseDamaged):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before


async def test_a_damaged_file_with_a_log_is_refused_untouched(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"), *(event("a", n, data="x" * 500) for n in range(200)))
    copy = path.with_name("killed.db")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    log = Path(f"{copy}-wal").read_bytes()
    copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
    before = copy.read_bytes()
    with pytest.raises(DatabaseDamaged):
        await SqliteWorkflowStore(copy).open()
    assert (copy.read_bytes(), Path(f"{copy}-wal").read_bytes()) == (before, log)


@pytest.mark.parametrize("position", [36, 39])
async def test_free_pages_that_are_nowhere_are_damage(path: Path, position: int) -> None:
    """SQLite's own check passes over them, and the first commit that needs a page fails."""
    await made(path)
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="counts free pages"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == content


async def test_a_header_in_the_log_stands_for_that_of_the_file(store: SqliteWorkflowStore, path: Path) -> None:
    await store.append(run_started("a"), *(event("a", n, data="x" * 500) for n in range(200)))
    copy = path.with_name("killed.db")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    content = bytearray(copy.read_bytes())
    content[39] ^= 4
    copy.write_bytes(content)
    killed = SqliteWorkflowStore(copy)
    await killed.open()
    await killed.append(event("a", 200, data="x" * 50_000))
    await killed.close()


@pytest.mark.parametrize(
    "statement", ["DROP INDEX inbox_by_run", "ALTER TABLE handlers RENAME COLUMN probations TO qrobations"]
)
async def test_a_schema_that_is_not_as_it_was_made_is_refused(path: Path, statement: str) -> None:
    await made(path)
    edit(path, statement)
    with pytest.raises(DatabaseDamaged, match="is not as it was made"):
        await SqliteWorkflowStore(path).open()


async def test_a_schema_that_is_no_text_is_damage(path: Path) -> None:
    await made(path)
    content = bytearray(path.read_bytes())
    content[content.find(b"CREATE TABLE handlers") + 3] = 0xD4
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged, match="schema"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == content


async def test_tables_and_indexes_of_others_are_accepted(path: Path) -> None:
    await made(path)
    edit(path, "CREATE INDEX theirs ON event_log (run_id)", "CREATE TABLE reports (day TEXT)")
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()


async def test_a_lost_log_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await made(path)
    edit(path, "UPDATE server SET clean_stop = 0")
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert "has no write-ahead log (-wal) beside it" in caplog.text


async def test_an_unclean_stop_is_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await made(path)
    await made(path.with_name("other.db"))
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert "was not closed cleanly" not in caplog.text
    edit(path, "UPDATE server SET clean_stop = 0")
    await store.open()
    await store.close()
    assert "was not closed cleanly" in caplog.text


async def test_a_start_that_takes_long_says_why(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await made(path)
    for large, lines in ((1 << 30, 0), (1, 1)):
        monkeypatch.setattr(examination, "LARGE", large)
        with caplog.at_level("INFO"):
            store = SqliteWorkflowStore(path)
            await store.open()
            await store.close()
        assert caplog.text.count("Reading all of") == lines


async def test_a_disk_that_fails_while_the_log_is_read_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    await made(path)
    monkeypatch.setattr(examination, "lost_commits", fail)
    with pytest.raises(DiskFailed):
        await SqliteWorkflowStore(path).open()


async def test_a_database_without_the_row_of_its_server_is_damaged(path: Path) -> None:
    await made(path)
    edit(path, "DELETE FROM server")
    with pytest.raises(DatabaseDamaged, match="'server'"):
        await SqliteWorkflowStore(path).open()


CANARY = "INSERT INTO canary VALUES ('ran')"


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        pytest.param(
            (f"CREATE TRIGGER theirs AFTER UPDATE ON server BEGIN {CANARY}; END",),
            "trigger 'theirs' on 'server'",
            id="trigger on ours",
        ),
        pytest.param(
            (
                "CREATE TABLE their_notes (handler_id REFERENCES handlers (handler_id) ON DELETE CASCADE)",
                f"CREATE TRIGGER theirs AFTER DELETE ON their_notes BEGIN {CANARY}; END",
            ),
            "trigger 'theirs' on 'their_notes'",
            id="trigger that a cascade runs",
        ),
        pytest.param(
            (
                "CREATE VIEW shown AS SELECT * FROM handlers",
                f"CREATE TRIGGER theirs INSTEAD OF INSERT ON shown BEGIN {CANARY}; END",
            ),
            "trigger 'theirs' on 'shown'",
            id="trigger on a view",
        ),
        pytest.param(
            ("CREATE UNIQUE INDEX theirs ON handlers (workflow_name)",),
            "unique index 'theirs' on 'handlers'",
            id="unique index",
        ),
        pytest.param(
            ("CREATE TABLE their_notes (handler_id REFERENCES Handlers (handler_id))",),
            "foreign key of 'their_notes' on 'Handlers'",
            id="foreign key",
        ),
    ],
)
async def test_code_that_would_run_with_our_writes_is_refused_by_name(
    path: Path, statements: tuple[str, ...], named: str
) -> None:
    await made(path)
    edit(path, "CREATE TABLE canary (word TEXT)", *statements)
    before = path.read_bytes()
    with pytest.raises(DatabaseAltered, match=named):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.name + ".lock"}


async def test_a_trigger_in_a_file_that_looks_like_ours_is_refused(path: Path) -> None:
    edit(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE canary (word TEXT)",
        f"CREATE TRIGGER theirs AFTER INSERT ON canary BEGIN {CANARY}; END",
    )
    before = path.read_bytes()
    with pytest.raises(DatabaseAltered, match="trigger 'theirs' on 'canary'"):
        await SqliteWorkflowStore(path).open()
    assert path.read_bytes() == before


async def test_tables_and_keys_that_refuse_nothing_are_accepted(path: Path) -> None:
    await made(path)
    edit(
        path,
        "CREATE TABLE their_notes (handler_id REFERENCES handlers (handler_id) ON DELETE CASCADE, day TEXT UNIQUE)",
        "CREATE UNIQUE INDEX notes_by_day ON their_notes (day)",
        "CREATE VIEW shown AS SELECT * FROM handlers",
    )
    store = SqliteWorkflowStore(path)
    await store.open()
    assert await store.delete(HandlerQuery()) == 1
    await store.close()
