"""Fixtures of several folders: a server process on a free port, and the root of the repository."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

from tests.harness.managing import CONTROL_LOOP
from tests.harness.spawning import COMMAND, ROOT, end, listening, serve_command, spawn

# As everywhere, no test asserts how long something took: an example may be slow while others use the cores.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let everything run in the engine's own control loop: what the lean loop does has to be the same."""
    parser.addoption("--engine-loop", action="store_true", help="run workflows in the engine's own control loop")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the servers that tests start, and the managers that they make."""
    if config.getoption("--engine-loop"):
        os.environ[CONTROL_LOOP] = "engine"


class ServerProcess(NamedTuple):
    """A running ``workflow-server serve``: where it listens, and the process to signal."""

    url: str
    port: int
    process: subprocess.Popen[str]
    log: Path

    def stop(self) -> int:
        """Ask it to end as systemd would, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(timeout=30)


StartServer = Callable[..., ServerProcess]


if os.environ.get("WORKFLOW_SERVER_EVENT_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Run the tests on the loop on which the servers that they start run."""
        return {"uvloop": importlib.import_module("uvloop").new_event_loop}


@pytest.fixture
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start ``workflow-server serve TARGET`` in a process of its own, and return when it listens."""
    started: list[subprocess.Popen[str]] = []

    def start(
        target: str | Path,
        *options: str,
        port: int = 0,
        db: Path | None = None,
        env: dict[str, str] | None = None,
        command: Sequence[str] = COMMAND,
        cwd: Path = tmp_path,
    ) -> ServerProcess:
        log = tmp_path / f"server-{len(started)}.log"
        arguments = serve_command(target, db or tmp_path / "db.sqlite3", port)
        process = spawn([*command, *arguments, *options], log=log, cwd=cwd, environment=env or {})
        started.append(process)
        url = listening(process)
        assert url is not None, f"the server did not start:\n{log.read_text()}"
        return ServerProcess(url, int(url.rpartition(":")[2]), process, log)

    yield start
    for process in started:
        end(process)
