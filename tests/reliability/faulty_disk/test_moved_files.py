"""The database's files deleted, moved and replaced under a server that runs, and such as a server cannot use."""

# The files are moved by hand, beside a server of its own process.
from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.reliability.faulty_disk.fault_trials import assert_explained, new_folder
from tests.reliability.faulty_disk.faulting import DATABASE, LOCK, Fault, FaultedServer, build
from tests.reliability.faulty_disk.scripted_session import GONE, ScriptedSession
from tests.reliability.faulty_disk.scripted_verdict import judge
from tests.reliability.reporting import Extent, Survived

pytestmark = [pytest.mark.slow(25), pytest.mark.timeout(600)]


LANES = 2


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"))


def _log_of(db: Path) -> Path:
    return db.with_name(db.name + "-wal")


def _delete(db: Path) -> None:
    # A second name keeps what can be put back.
    os.link(db, db.with_name("kept"))
    db.unlink()


def _put_back(db: Path) -> None:
    os.replace(db.with_name("kept"), db)
    os.replace(f"{_log_of(db)}.left", _log_of(db))


def _replace(db: Path) -> None:
    os.link(db, db.with_name("kept"))
    other = db.with_name("other")
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    os.replace(other, db)


def _move_folder(db: Path) -> None:
    os.rename(db.parent, db.parent.with_name("elsewhere"))


def _move_folder_back(db: Path) -> None:
    os.rename(db.parent.with_name("elsewhere"), db.parent)


class Move(NamedTuple):
    """The change to the files, the server's message about it, and the way to undo it; None where it cannot be
    undone."""

    do: Callable[[Path], None]
    said: str
    undo: Callable[[Path], None] | None


MOVES = {
    "the database is deleted": Move(_delete, "deleted or moved away", _put_back),
    "another file takes its name": Move(_replace, "replaced by another", _put_back),
    "its folder is moved": Move(_move_folder, "deleted or moved away", _move_folder_back),
    "its folder is deleted": Move(lambda db: shutil.rmtree(db.parent), "deleted or moved away", None),
    "its log is deleted": Move(lambda db: _log_of(db).unlink(), "deleted or moved away", lambda db: None),
}


async def test_a_file_that_is_gone_ends_the_server_before_any_answer(
    tmp_path: Path, library: Path, extent: Extent, survived: Survived
) -> None:
    """SQLite writes on into a file without a name: the server sees it before it answers, or within a heartbeat."""
    rounds = [(True, name) for name in MOVES] + [(False, name) for name in MOVES if extent.long or "deleted" in name]
    attacks = [*enumerate(rounds * extent.of(short=1, long=5))]

    async def lane(some: list[tuple[int, tuple[bool, str]]]) -> None:
        for number, (asked, name) in some:
            folder = new_folder(tmp_path, f"{number}")
            try:
                await _attack(FaultedServer(folder, library), new_folder(folder, "db") / "runs.sqlite3", name, asked)
            except BaseException as error:
                error.add_note(f"when {name}")
                raise

    async with asyncio.TaskGroup() as lanes:
        for place in range(LANES):
            lanes.create_task(lane(attacks[place::LANES]), name=f"lane {place}")
    survived(
        "the database or its log is deleted, moved or replaced while the server runs",
        "P1 P2 P9",
        times=len(attacks),
        unit="files",
        figures=f"{len(MOVES)} ways; none acknowledged after it, all exited 1 with the file's name",
    )


async def _attack(server: FaultedServer, db: Path, name: str, asked: bool) -> None:
    move = MOVES[name]
    server.db = db
    async with server:
        script = ScriptedSession(server.api, "s1", _nothing)
        await script.run()
        move.do(db)
        if asked:
            with suppress(*GONE):
                # It may be found when the files are put back; nobody was told that it would.
                script.memory.unanswered.add("asked")
                body = {"start_event": {"label": "asked"}}
                status, answer = await server.api.call("POST", "/workflows/inbox/run-nowait", body)
                assert status == 503, f"a run that will be lost was answered with {status} {answer}"
                assert str(db.parent) not in str(answer)
        assert await server.ended() == 1
        assert_explained(server.log)
        assert move.said in server.log.splitlines()[-1]
        if move.undo is None:
            assert await server.try_start() == 2, server.log
            assert "does not exist" in server.log
            return
        move.undo(db)
        await server.start()
        await judge(server.api, script.memory)
        assert await server.stop() == 0


async def _nothing(_: object) -> None:
    """The session meets no fault."""


# -- What a server cannot use ----------------------------------------------------------------------

AS_OWNER = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
"""Root may write whatever the mode says; without these capabilities it is an owner like others."""


def _make_folder(db: Path) -> None:
    db.unlink()
    db.mkdir()


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a read-only file": (lambda db: db.chmod(0o400), "the file is read-only. Change its permissions"),
    "a read-only folder": (lambda db: db.parent.chmod(0o500), "its folder is read-only. Change its permissions"),
    "a missing folder": (lambda db: shutil.rmtree(db.parent), "does not exist. Create it"),
    "a folder in its place": (_make_folder, "it is a folder"),
    "a lock file that is read-only": (
        lambda db: db.with_name(db.name + ".lock").chmod(0o400),
        "Permission denied. Change its permissions",
    ),
}
INJECTED = {
    "a read-only file system": (Fault("open", 1, errno.EROFS, lasts=True), 1 << LOCK, "Read-only file system"),
    "a database that must not be opened": (
        Fault("open", 1, errno.EACCES, lasts=True),
        1 << DATABASE,
        "Permission denied. Change its permissions",
    ),
    "a database that must not be written": (
        Fault("write", 1, errno.EPERM, lasts=True),
        1 << DATABASE,
        "cannot be read or written",
    ),
}


async def test_what_cannot_be_used_is_refused_by_name_with_the_remedy(
    tmp_path: Path, library: Path, survived: Survived
) -> None:
    refused = 0
    for name, (spoil, said) in UNUSABLE.items():
        async with FaultedServer(new_folder(tmp_path, name), library) as server:
            await _stopped_in(server, new_folder(server.folder, "db"))
            server.prefix = AS_OWNER
            spoil(server.db)
            await _refused(server, said)
            if server.db.parent.exists():
                server.db.parent.chmod(0o700)
        refused += 1
    for name, (fault, files, said) in INJECTED.items():
        async with FaultedServer(new_folder(tmp_path, name), library) as server:
            await server.api.start("inbox", label="left")
            await server.kill()
            server.control.arm(fault, files=files)
            await _refused(server, said)
            assert server.control.injected
            server.control.lift()
            await server.start()
            assert len(await server.api.running()) == 1, "what was acknowledged is gone"
        refused += 1
    survived(
        "a read-only file, folder or file system, a missing folder, at the start",
        "P9",
        times=refused,
        unit="starts",
        figures="all exited 2 with one line that names the file and the remedy",
    )


async def _stopped_in(server: FaultedServer, folder: Path) -> None:
    """A database in this folder, and nobody who serves it."""
    await server.kill()
    server.db = folder / "runs.sqlite3"
    await server.start()
    assert await server.stop() == 0


async def _refused(server: FaultedServer, said: str) -> None:
    code = await server.try_start()
    assert code == 2, server.log
    assert_explained(server.log)
    assert said in server.log.splitlines()[-1], server.log
