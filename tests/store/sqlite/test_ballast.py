"""Room on the disk that is kept for cancellations."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_server.store.sqlite.ballast import LEAST, SIZE, Ballast


def test_a_link_in_the_place_of_the_ballast_is_not_followed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target, file = path.with_name("somebody's"), path.with_name(path.name + "-reserve")
    target.write_text("precious")
    reserve = Ballast(path)
    reserve.fill()
    file.unlink()
    file.symlink_to(target)
    reserve.give()
    reserve.fill()
    assert target.read_text() == "precious"
    assert "symbolic link" in caplog.text


@pytest.fixture
def small_files() -> Iterator[int]:
    """No file of this process grows past this size: how a full disk looks to it, but for the number of the error."""
    limit = 3 * LEAST
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_it_takes_up_blocks_of_the_disk_gives_them_back_and_goes(path: Path) -> None:
    reserve, file = Ballast(path), path.with_name(path.name + "-reserve")
    reserve.fill()
    assert file.stat().st_blocks * 512 >= SIZE
    assert file.stat().st_mode & 0o777 == 0o600
    reserve.give()
    assert file.stat().st_blocks == 0
    reserve.fill()
    assert file.stat().st_size == SIZE
    reserve.remove()
    assert not file.exists()


def test_it_takes_what_there_is_room_for(path: Path, small_files: int) -> None:
    reserve, file = Ballast(path), path.with_name(path.name + "-reserve")
    reserve.fill()
    assert file.stat().st_size == small_files


def test_a_missing_folder_is_no_error_nor_is_memory(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for reserve in (Ballast(path / "missing" / "db"), Ballast(None)):
        reserve.fill()
        reserve.give()
        reserve.remove()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot keep room for cancellations on a full disk: No such file or directory"
    ]


def test_one_that_cannot_be_removed_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = path.with_name(path.name + "-reserve")
    file.mkdir()
    reserve = Ballast(path)
    reserve.fill()
    reserve.remove()
    assert f"{file} could not be removed" in caplog.text


def test_a_system_without_posix_fallocate_takes_up_as_much(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    test_it_takes_up_blocks_of_the_disk_gives_them_back_and_goes(path)


def test_without_posix_fallocate_it_takes_what_there_is_room_for(
    path: Path, small_files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    test_it_takes_what_there_is_room_for(path, small_files)
