"""One server a database."""

# Nothing else runs on the loop of these tests.
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.making import run_started
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.exceptions import DatabaseLocked, FileBesideLinked
from workflow_server.store.sqlite.lock import ServerLock


async def test_a_second_server_is_kept_out_and_told_who_holds_it(store: SqliteWorkflowStore, path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom workflow_server.store import SqliteWorkflowStore\n"
        "try:\n    asyncio.run(SqliteWorkflowStore(sys.argv[1]).open())\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(path), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await other.communicate()
    assert output.decode().startswith(f"DatabaseLocked Another server (process {os.getpid()}) holds '{path}'")
    with pytest.raises(DatabaseLocked):
        await SqliteWorkflowStore(path).open()
    await store.append(run_started("a"))


async def test_the_lock_goes_with_its_store(path: Path) -> None:
    first, second = SqliteWorkflowStore(path), SqliteWorkflowStore(path)
    await first.open()
    with pytest.raises(DatabaseLocked):
        await second.open()
    await first.close()
    await second.open()
    assert second.problem is None
    await second.close()


async def test_a_pipe_in_the_place_of_the_lock_is_refused_at_once(path: Path) -> None:
    os.mkfifo(path.with_name(path.name + ".lock"))
    with pytest.raises(FileBesideLinked, match="not a regular file"):
        await SqliteWorkflowStore(path).open()


@pytest.mark.parametrize("signature", ["gone", "0\n", "-1\n", "", "x", "9" * 30])
def test_a_holder_that_is_not_there_is_not_named(tmp_path: Path, signature: str) -> None:
    """The one before was killed, and its successor has not signed yet."""
    holder, other = ServerLock(tmp_path / "db"), ServerLock(tmp_path / "db")
    holder.acquire()
    if signature == "gone":
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        signature = f"{ended.pid}\n"
    holder.file.write_text(signature)
    with pytest.raises(DatabaseLocked, match=r"\(process unknown\)"):
        other.acquire()
    holder.sign()
    with pytest.raises(DatabaseLocked, match=rf"\(process {os.getpid()}\)"):
        other.acquire()
    holder.release()
