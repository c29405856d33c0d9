"""Fixtures of several folders: a server process on a free port, and the root of the repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


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


def clean_environment() -> dict[str, str]:
    """The environment without what would change a server or an example."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WORKFLOW_SERVER_", "OPENAI_", "NIGHTLY_BATCH_"))
    }


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
        command: Sequence[str] = (sys.executable, "-m", "workflow_server"),
        cwd: Path = tmp_path,
    ) -> ServerProcess:
        log = tmp_path / f"server-{len(started)}.log"
        arguments = [*command, "serve", str(target), "--port", str(port), "--db", str(db or tmp_path / "db.sqlite3")]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*arguments, *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=cwd,
                env=clean_environment() | (env or {}),
            )
        started.append(process)
        assert process.stdout is not None
        url = next((word for line in process.stdout for word in line.split() if word.startswith("http://")), None)
        assert url is not None, f"the server did not start:\n{log.read_text()}"
        url = url.rstrip("/.,")
        return ServerProcess(url, int(url.rpartition(":")[2]), process, log)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
