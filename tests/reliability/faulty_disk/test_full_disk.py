"""A disk that is full under a real server: new work is refused, all else goes on, and work resumes by itself."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness.api import Api, Reader
from tests.harness.waiting import until_seen
from tests.reliability.faulty_disk.fault_trials import assert_explained, new_folder
from tests.reliability.faulty_disk.faulting import FaultedServer, build
from tests.reliability.reporting import Extent, Survived
from workflow_server.store.group_commit import FULL_RETRY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOM = 64 << 20
"""Bytes of the real disk."""
LARGE = "x" * 60_000
"""Payload of new work, which needs room."""


class Disk(NamedTuple):
    """The place of the database, and how that disk is filled and emptied."""

    folder: Path
    fill: Callable[[], None]
    empty: Callable[[], None]


@contextmanager
def injected_disk(parent: Path, server: FaultedServer) -> Iterator[Disk]:
    """A folder whose files can be written to, but together take up no more room than they do when it is filled."""
    yield Disk(new_folder(parent, "disk"), server.control.fill_disk, server.control.lift)


@contextmanager
def real_disk(parent: Path) -> Iterator[Disk | None]:
    """A file system in memory of 64 MiB, where this user may mount one."""
    folder = new_folder(parent, "disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    filler = folder / "filler"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    try:
        yield Disk(folder, fill, filler.unlink)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class FullDisk:
    """One server on one disk, and what its clients were told."""

    def __init__(self, server: FaultedServer, disk: Disk) -> None:
        self.server = server
        self.disk = disk
        self.accepted: list[str] = []
        self.cancelled: list[str] = []
        self.refusals = 0

    @property
    def api(self) -> Api:
        return self.server.api

    async def start_until_refused(self) -> None:
        """Start runs that wait, until there is no room for another."""
        for _ in range(400):
            status, answer = await self.api.call("POST", "/workflows/inbox/run-nowait", _large())
            if status == 507:
                self.refusals += 1
                if await self._stays_full():
                    return
                # What was refused was too large; smaller records found room.
                continue
            assert status == 200, answer
            self.accepted.append(answer["handler_id"])
        raise AssertionError("the disk was never full")

    async def _stays_full(self) -> bool:
        """Return whether what runs write finds no room either, also when it is tried again."""
        deadline = time.monotonic() + 1.5 * FULL_RETRY
        while time.monotonic() < deadline:
            if (await self.api.call("GET", "/health"))[0] != 503:
                return False
            await asyncio.sleep(0.02)
        return True

    async def refuses_new_work(self, waiting: str) -> None:
        """Runs and events are refused, and the server says that it is not healthy."""
        status, health = await self.api.call("GET", "/health")
        assert status == 503, health
        assert "full" in str(health)
        body = {"event": {"type": "Answer", "value": {"text": LARGE}}}
        for path, sent in (("/workflows/count/run", _large()), (f"/events/{waiting}", body)):
            status, answer = await self.api.call("POST", path, sent)
            assert status == 507, f"{path}: {status} {answer}"
            self.refusals += 1

    async def reads_go_on(self, over: str) -> None:
        assert (await self.api.handler(over))["status"] == "completed"
        assert len((await self.api.call("GET", "/handlers"))[1]["handlers"]) >= len(self.accepted)
        assert (await self.api.events(over))[-1].terminal

    async def cancels_go_on(self, times: int) -> None:
        """Cancelled is cancelled: at once, for everybody who looks, and in the stream."""
        for _ in range(times):
            handler_id = self.accepted.pop(0)
            reader = Reader(self.api, handler_id)
            await self.api.wants("POST", f"/handlers/{handler_id}/cancel")
            self.cancelled.append(handler_id)
            assert (await self.api.handler(handler_id))["status"] == "cancelled"
            assert (await reader.finished())[-1].type == "WorkflowCancelledEvent"

    async def purges_go_on(self) -> None:
        """Deleting is what helps."""
        handler_id = self.accepted.pop(0)
        await self.api.wants("POST", f"/handlers/{handler_id}/cancel?purge=true")
        assert (await self.api.call("GET", f"/handlers/{handler_id}"))[0] == 404

    async def keeps_what_it_said(self) -> None:
        """All that was accepted runs, all that was cancelled is cancelled, and no more is there."""
        handlers = {
            handler["handler_id"]: handler["status"]
            for handler in (await self.api.call("GET", "/handlers?workflow_name=inbox"))[1]["handlers"]
        }
        assert handlers == {
            **dict.fromkeys(self.accepted, "running"),
            **dict.fromkeys(self.cancelled, "cancelled"),
        }


def _large() -> dict[str, object]:
    return {"start_event": {"label": LARGE}}


async def _fill_and_look(full: FullDisk, cancels: int) -> None:
    api = full.api
    over = (await api.start("count", label="over"))["handler_id"]
    await api.finished(over)
    waiting = (await api.start("inbox", label="waiting"))["handler_id"]
    flood = (await api.start("flood", label="writes all the time"))["handler_id"]
    for _ in range(cancels + 2):
        full.accepted.append((await api.start("inbox", label=LARGE))["handler_id"])
    full.disk.fill()
    await full.start_until_refused()
    await full.refuses_new_work(waiting)
    await full.reads_go_on(over)
    await full.cancels_go_on(cancels)
    await full.purges_go_on()
    # What was deleted may have made room.
    await full.start_until_refused()
    await full.refuses_new_work(waiting)
    await full.reads_go_on(over)
    assert (await api.handler(flood))["status"] == "running"
    full.accepted.append(waiting)


async def _killed_while_full(full: FullDisk) -> None:
    server = full.server
    await server.kill()
    assert await server.try_start() == 2, server.log
    assert_explained(server.log)
    assert "is full. Free some space" in server.log
    full.disk.empty()
    await server.start()
    await full.keeps_what_it_said()


async def _resumes_by_itself(full: FullDisk) -> None:
    """A run that could not go on for want of room ends as if nothing had been, and has written everything once."""
    api = full.api
    flood = (await api.start("flood", label="again"))["handler_id"]
    full.disk.fill()
    await full.server.until_logged("the disk is full")
    await full.start_until_refused()
    full.disk.empty()
    events = await asyncio.wait_for(api.events(flood, internal=True), 90)
    assert [event.sequence for event in events] == list(range(len(events)))
    counted = [event.value["n"] for event in events if event.type == "Counted"]
    assert counted == list(range(len(counted)))
    assert (await api.handler(flood))["status"] == "completed"

    async def is_accepted() -> bool:
        is_refused = (await api.call("POST", "/workflows/count/run", _large()))[0] == 507
        full.refusals += is_refused
        return not is_refused

    await until_seen(is_accepted, "new work is refused still")
    assert (await api.call("GET", "/health"))[0] == 200
    await full.keeps_what_it_said()


@pytest.mark.parametrize("kind", ["injected", "real"])
async def test_a_full_disk_loses_nothing_that_was_answered(
    tmp_path: Path, kind: str, extent: Extent, survived: Survived
) -> None:
    """Fill the disk, cancel, kill the server while it is full, and start it again when there is room."""
    server = FaultedServer(new_folder(tmp_path, "server"), build(tmp_path))
    with real_disk(tmp_path) if kind == "real" else injected_disk(tmp_path, server) as disk:
        if disk is None:
            # Mounting takes rights that not every machine gives; the injected full disk is attacked on all.
            return
        server.db = disk.folder / "runs.sqlite3"
        async with server:
            full = FullDisk(server, disk)
            await _fill_and_look(full, extent.of(short=10, long=60))
            await _killed_while_full(full)
            await _resumes_by_itself(full)
            assert await server.stop() == 0
    kind_of_disk = "a file system of 64 MiB" if kind == "real" else "its files cannot grow"
    survived(
        f"cancelled on a full disk ({kind_of_disk}), and killed",
        "P1 P2 P4 P9",
        times=len(full.cancelled),
        unit="cancellations",
        figures=f"{full.refusals} requests refused with 507, {len(full.accepted)} waiting runs kept",
    )
