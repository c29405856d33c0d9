"""A server in a process of its own, which is killed and started again on the same database."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.harness.api import Api
from tests.harness.ledger import Ledger
from tests.harness.spawning import COMMAND, ROOT, end, printed, serve_command, spawn
from tests.harness.waiting import until

TARGETS = ROOT / "tests" / "end_to_end" / "targets"

_LISTENING = re.compile(r"Listening on (https?://\S+)")
_RESUMED = re.compile(r"Resumed (\d+) runs?")


class DidNotStart(AssertionError):
    """The server ended before it listened."""


class DurableServer:
    """``python -m workflow_server serve targets/NAME.py`` over a database in ``folder``; started inside ``async with``.

    What it logs is in ``folder/server.log``, and shown when the test fails.
    """

    def __init__(self, folder: Path, target: str, *options: str) -> None:
        self.folder = folder
        self.db = folder / "runs.sqlite3"
        self.ledger = Ledger(folder)
        self.environment: dict[str, str] = {}
        """Variables for the environment of the next process, besides the ledger's."""
        self.resumed = 0
        """Number of runs that the last start resumed."""
        self.announced = ""
        """The lines that the last start printed."""
        self.spawned_at = self.listening_at = 0.0
        """The times at which the last process was started and at which it listened, by time.monotonic()."""
        self.own_program = False
        """The target is run as a program that serves by itself, instead of by the command."""
        self.prefix: tuple[str, ...] = ()
        """The command that runs its own, if any."""
        self._log = folder / "server.log"
        self._target = target
        self.options = options
        self._process: subprocess.Popen[str] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        """The server's HTTP interface."""
        assert self._api is not None
        return self._api

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.api.url.rpartition(":")[2])

    @property
    def process(self) -> subprocess.Popen[str]:
        """The server's process."""
        assert self._process is not None
        return self._process

    async def __aenter__(self) -> Self:
        self.open()
        try:
            await self.start()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        if error is not None:
            error.add_note(f"The server logged:\n{self.log_tail()}")

    def open(self) -> None:
        """Make what the first start needs."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self._api = Api(self._session)

    async def close(self) -> None:
        """Kill it where it still runs, and close what ``open`` made."""
        if self._process is not None:
            await asyncio.to_thread(end, self._process)
            self._process = None
        assert self._session is not None
        await self._session.close()

    def log_tail(self) -> str:
        """The end of what the server logged, of all its lives."""
        return self._log.read_text()[-6000:] if self._log.exists() else ""

    async def start(self, target: str | None = None, *, port: str = "0") -> None:
        """Start the server, over whatever the database holds, and return when it listens."""
        self._target = target or self._target
        self.spawned_at = time.monotonic()
        self._process = self._spawn(port)
        lines = await asyncio.to_thread(self._start_up_lines)
        listening, resumed = _LISTENING.search(lines), _RESUMED.search(lines)
        if listening is None or resumed is None:
            raise DidNotStart(f"the server did not start: {lines}\n{self.log_tail()}")
        self.listening_at = time.monotonic()
        self.resumed, self.announced = int(resumed[1]), lines
        self.api.url = listening[1]

    def _spawn(self, port: str) -> subprocess.Popen[str]:
        target = TARGETS / self._target
        command = [*COMMAND, *serve_command(target, self.db, port)]
        if self.own_program:
            command = [sys.executable, str(target), port, str(self.db)]
        environment = {**self.ledger.environment, "PYTHONPATH": str(ROOT), **self.environment}
        return spawn([*self.prefix, *command, *self.options], log=self._log, cwd=self.folder, environment=environment)

    def _start_up_lines(self) -> str:
        lines: list[str] = []
        for line in printed(self.process):
            lines.append(line)
            if _RESUMED.search(line):
                break
        return "".join(lines)

    async def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self.process.kill()
        await self.ended()
        self.ledger.note_kill()

    async def restart(self) -> None:
        """Kill it and start it again."""
        await self.kill()
        await self.start()

    def terminate(self) -> None:
        """Ask it to end, as systemd would: SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def stopping(self) -> None:
        """Ask it to end, and return when it is about to."""
        self.terminate()
        await until(lambda: "Stopping" in self._log.read_text(), "the server did not notice SIGTERM")

    async def blocked(self) -> None:
        """Return when a step is told to block the event loop."""
        told = "has blocked the event loop"
        await until(lambda: told in self._log.read_text(), "no step is told to block the event loop")

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.terminate()
        return await self.ended()

    async def ended(self, timeout: float = 30.0) -> int:
        """The exit code, when the process has ended."""
        process, self._process = self.process, None
        try:
            return await asyncio.to_thread(process.wait, timeout)
        finally:
            end(process)
