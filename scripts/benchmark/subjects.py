"""The subjects of the measurements: builds of this project, peers, and the bare engine."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmark.client import Connection
from benchmark.environments import Build
from benchmark.processes import START_WITHIN, DidNotStart, Process, clean_environment

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Peer:
    """A server by the engine's authors: what installs it, and the modules of its server and of its store."""

    key: str
    requirement: str
    module: str
    store: str
    shared_queue: bool = False
    """Its streams are the handler's one queue: one reader at a time, and no cursor."""


PEERS = (
    Peer("newest peer", "llama-agents-server==0.8.0", "llama_agents.server", "llama_agents.server"),
    Peer(
        "2.11.1",
        "llama-index-workflows[server]==2.11.1",
        "workflows.server",
        "workflows.server.sqlite.sqlite_workflow_store",
        shared_queue=True,
    ),
)


@dataclass(frozen=True)
class Subject:
    """A server that can be started: its command, but for the database, and what it is called."""

    key: str
    command: tuple[str, ...]
    cwd: Path
    peer: Peer | None = None

    @property
    def share(self) -> float:
        """The part of the work that it is given: the peers need a minute for what takes this server a second."""
        return 0.1 if self.peer else 1.0


def of_build(key: str, build: Build) -> Subject:
    """Return a build of this project as a subject."""
    options = ("--port", "0", "--log-level", "warning", "--db")
    command = (str(build.python), "-m", "workflow_server", "serve", str(PROGRAMS / "flows.py"), *options)
    return Subject(key, command, build.folder)


def of_peer(peer: Peer, python: Path) -> Subject:
    """Return a peer as a subject."""
    return Subject(peer.key, (str(python), str(PROGRAMS / "serve_peer.py"), peer.module, peer.store), PROGRAMS, peer)


class Served:
    """A running server of a subject, over a database in a folder of its own."""

    def __init__(self, subject: Subject, folder: Path, environment: Mapping[str, str]) -> None:
        self.subject = subject
        self.db = folder / "runs.sqlite3"
        self.begun_file = folder / "begun"
        self.url = ""
        self.page: str | None = None
        """The path of the first page of the list of handlers, once it is known."""
        self._folder = folder
        self._environment = {**environment, "BENCHMARK_BEGUN": str(self.begun_file)}
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def begun(self) -> int:
        """Number of steps that have begun to wait, over all lives of the server."""
        return self.begun_file.stat().st_size if self.begun_file.exists() else 0

    async def start(self) -> None:
        """Start the process, and return when it is healthy.

        Raises:
            DidNotStart: it ended, or was not healthy in time.
        """
        command = [*self.subject.command, str(self.db)]
        self._process = Process(command, self._folder, self.subject.cwd, self._environment)
        self.url = await self._process.address()
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline:
            if await self._healthy():
                return
            await asyncio.sleep(0.01)
        raise DidNotStart("the server did not become healthy")

    async def _healthy(self) -> bool:
        try:
            connection = await Connection.open(self.url)
        except OSError:
            return False
        with closing(connection):
            try:
                return (await connection.get("/health"))[0] == 200
            except ConnectionError:
                return False

    def set_environment(self, environment: Mapping[str, str]) -> None:
        """Let the next start have this environment."""
        self._environment = {**environment, "BENCHMARK_BEGUN": str(self.begun_file)}

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process by a signal."""
        if self._process is not None:
            await self._process.end(number)
            self._process = None

    def reap(self) -> None:
        """Kill the process where it still runs."""
        if self._process is not None:
            self._process.reap()


@asynccontextmanager
async def serving(subject: Subject, folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Served]:
    """Start a server in a new folder; it is killed in the end, whatever happened."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    served = Served(subject, folder, environment)
    try:
        await served.start()
        yield served
    finally:
        served.reap()


@dataclass(frozen=True)
class Alone:
    """The work of the bare engine beside a workload: ``total`` runs of a workflow by so many clients."""

    flow: str
    total: int
    clients: int = 1
    start: Mapping[str, int] = field(default_factory=dict)
    units: int = 1
    """Number of what the workload counts that each run does."""
    same: bool = True
    """It is the work of the workload; else only a measure of how fast the machine is just now."""


class Engine:
    """The bare engine in a process of its own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "engine.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=clean_environment(environment),
        )

    async def measure(self, alone: Alone) -> dict[str, float]:
        """Return the seconds, the CPU seconds and the median seconds of a run."""
        wanted = {key: value for key, value in asdict(alone).items() if key not in ("units", "same")}
        return await asyncio.to_thread(self._ask, json.dumps(wanted))

    def _ask(self, line: str) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        told = self._process.stdout.readline()
        if not told:
            raise DidNotStart(f"the bare engine ended: {line}")
        answer: dict[str, float] = json.loads(told)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
