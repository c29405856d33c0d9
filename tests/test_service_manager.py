"""Notices to systemd of a server process, received by a socket in its place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from workflow_server.service_manager import SHORTEST_WATCH, ServiceManager, _watchdog

FLOW = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Flow(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent()

flow = Flow()
"""


class Notices:
    """The socket on which systemd would listen."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(60)

    def next(self) -> list[str]:
        """Return the lines of the next notice."""
        return self._socket.recv(4096).decode().split("\n")

    def next_of(self, first: str) -> list[str]:
        """Return the next notice that begins with this line."""
        while (lines := self.next())[0] != first:
            pass
        return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "file" else f"@workflow-server-test-{os.getpid()}"


@pytest.fixture
def notices(address: str) -> Iterator[Notices]:
    notices = Notices("\0" + address[1:] if address.startswith("@") else address)
    yield notices
    notices.close()


def test_systemd_hears_of_start_life_and_stop(
    notices: Notices, address: str, tmp_path: Path, start_server: StartServer
) -> None:
    (tmp_path / "flow.py").write_text(FLOW)
    env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
    server = start_server(tmp_path / "flow.py", "--grace-period", "7", env=env)
    assert notices.next() == ["STATUS=Starting", "EXTEND_TIMEOUT_USEC=30000000"]
    assert notices.next_of("READY=1") == ["READY=1", "STATUS=Resumed 0 runs"]
    assert notices.next() == ["WATCHDOG=1"]
    assert notices.next() == ["WATCHDOG=1"], "once is not often enough"
    server.process.send_signal(signal.SIGTERM)
    assert notices.next_of("STOPPING=1") == ["STOPPING=1", "STATUS=Stopping", "EXTEND_TIMEOUT_USEC=12000000"]
    assert server.process.wait(60) == 0


async def test_nothing_is_sent_where_no_systemd_listens(caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager({})
    with service.starting(), service.watched():
        service.ready("Resumed 0 runs")
    assert caplog.messages == []


def test_a_notice_that_is_lost_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("Resumed 0 runs")
    assert caplog.messages == ["The service manager was not told READY=1: No such file or directory"]


async def test_the_watchdog_of_another_process_is_left_alone(notices: Notices, address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    service = ServiceManager(environment)
    with service.watched():
        pass
    service.ready("Resumed 0 runs")
    assert notices.next()[0] == "READY=1"


@pytest.mark.parametrize("microseconds", ["", "soon", "-1", "9" * 5_000, "\u0661"])
async def test_a_watchdog_without_a_time_is_none(microseconds: str, tmp_path: Path) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": microseconds})
    with service.watched():
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_notices_that_are_lost_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1"})
    with service.watched():
        await asyncio.sleep(0.3)
    assert caplog.messages == ["The service manager was not told WATCHDOG=1: No such file or directory"]


def test_a_watchdog_of_a_moment_is_not_fed_all_the_time() -> None:
    assert _watchdog({"WATCHDOG_USEC": "1"}) == SHORTEST_WATCH
    assert _watchdog({"WATCHDOG_USEC": "30000000"}) == 30.0
