"""Database files as the tests of opening need them."""

# Nothing else runs on the loop of these tests.
from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.store.making import event, run_started
from workflow_server.errors import DatabaseError
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.exceptions import FolderMissing


async def refusal(path: Path) -> DatabaseError:
    """The text of the refusal; the file and its folder are checked to be unchanged."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(DatabaseError) as refused:
        await SqliteWorkflowStore(path).open()
    assert {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()} == before
    assert str(path if not isinstance(refused.value, FolderMissing) else path.parent) in str(refused.value)
    return refused.value


async def made(path: Path) -> None:
    """A database of ours, closed cleanly, with no lock file beside it."""
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.append(run_started("a"), *(event("a", n, data="x" * 500) for n in range(200)))
    await store.close()
    path.with_name(path.name + ".lock").unlink()


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()
