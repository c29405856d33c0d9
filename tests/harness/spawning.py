"""Server processes: the one way in which tests make them, and what they print when they listen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent.parent
COMMAND = (sys.executable, "-m", "workflow_server")

_LISTENING = re.compile(r"Listening on (https?://[^\s/]+)")


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change a server or an example."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WORKFLOW_SERVER_", "OPENAI_", "NIGHTLY_BATCH_"))
    }


def serve_command(target: str | Path, db: Path, port: int | str = 0) -> list[str]:
    """Return the arguments of ``workflow-server`` that serve this target; port 0 takes a free one."""
    return ["serve", str(target), "--port", str(port), "--db", str(db)]


def spawn(command: Sequence[str], *, log: Path, cwd: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a server; its log is added to the file ``log``, and ``environment`` to the clean one."""
    with log.open("a") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=cwd,
            env={**clean_environment(), **environment},
        )


def listening(process: subprocess.Popen[str]) -> str | None:
    """Read what the process prints up to the line that says where it listens, and return that address; None where the
    process ends without it."""
    for line in printed(process):
        found = _LISTENING.search(line)
        if found is not None:
            return found[1]
    return None


def printed(process: subprocess.Popen[str]) -> IO[str]:
    """Return the lines that the process prints."""
    assert process.stdout is not None
    return process.stdout


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process where it still runs, and close its output. Where coverage is measured, it is asked to end
    before: a process that is killed does not tell what ran."""
    if process.poll() is None and "COVERAGE_PROCESS_CONFIG" in os.environ:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    if process.poll() is None:
        process.kill()
    process.wait()
    printed(process).close()
