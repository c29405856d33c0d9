"""The files beside a database: no links, and private modes."""

# Nothing else runs on the loop of these tests.
# ruff: noqa: ASYNC240
from __future__ import annotations

import errno
import shutil
import stat
from pathlib import Path

import pytest

from tests.store.making import event, run_started
from workflow_server.store import SqliteWorkflowStore
from workflow_server.store.sqlite.exceptions import FileBesideLinked

from .files import made, refusal


@pytest.mark.parametrize("end", [".lock", "-reserve", "-wal", "-shm", "-journal", "-wal.left"])
@pytest.mark.parametrize("link", ["symbolic", "dangling", "hard"])
async def test_a_link_is_refused_by_name_and_its_target_untouched(path: Path, end: str, link: str) -> None:
    await made(path)
    target, file = path.with_name("somebody's"), path.with_name(path.name + end)
    if link != "dangling":
        target.write_text("precious")
    if link == "hard":
        file.hardlink_to(target)
    else:
        file.symlink_to(target)
    error = await refusal(path)
    assert isinstance(error, FileBesideLinked)
    assert str(file) in str(error)
    assert target.exists() == (link != "dangling")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604, 0o700])
async def test_a_mode_that_lets_others_in_is_restricted_and_logged(
    store: SqliteWorkflowStore, path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    await store.append(run_started("a"), event("a", 0))
    copy = path.with_name("killed.db")
    files = [Path(f"{copy}{end}") for end in ("", "-wal", ".lock", "-wal.left")]
    for file, end in zip(files[:2], ("", "-wal"), strict=True):
        shutil.copyfile(f"{path}{end}", file)
    for file in files:
        file.touch()
        file.chmod(mode)
    other = SqliteWorkflowStore(copy)
    await other.open()
    for file in (*files, Path(f"{copy}-shm"), Path(f"{copy}-reserve")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await other.close()
    for file in files:
        assert f"{file} (mode {mode:03o})" in caplog.text


async def test_a_mode_that_cannot_be_restricted_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(path)
    path.chmod(0o644)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    # Only another owner of the file would make the system refuse it, and these tests may run as one who is not asked.
    monkeypatch.setattr(Path, "chmod", refuse)
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    assert f"{path} (mode 644), and that cannot be changed (Operation not permitted)" in caplog.text
