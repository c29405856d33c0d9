"""Storage that fails under a real server: at every call of a session and of a start, full, moved and read-only.

The promise is P9: the server never lies about storage. Whatever call fails, what was acknowledged is there after the
next clean start, what was refused is nowhere, and the server either goes on rightly or says why it ends.
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.end_to_end.api import Json
from tests.reliability.faulting import Fault, FaultedServer, build
from tests.reliability.reporting import Extent
from tests.reliability.scripted_session import Memory, ScriptedSession, ServerGone
from tests.reliability.scripted_verdict import judge


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("native"))


class Tally:
    def __init__(self) -> None:
        self.injected = 0
        self.outcomes: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()


class Trials:
    """Sessions one after the other on one database, each with a fault of its own, and each judged by the next start."""

    def __init__(self, server: FaultedServer, tally: Tally) -> None:
        self.server = server
        self.tally = tally
        self._memory = Memory()
        self._number = 0

    async def judge(self) -> None:
        """Start without faults, and hold what is there against what was acknowledged."""
        self.server.control.lift()
        await self.server.start()
        await judge(self.server.api, self._memory)

    async def session(self, fault: Fault) -> bool:
        """One session with this fault, on a server that has just been started and judged; whether it happened."""
        server, control = self.server, self.server.control
        self._number += 1
        control.arm(fault)
        script = ScriptedSession(server.api, f"s{self._number}", self._refused)
        self._memory = script.memory
        lifting = asyncio.create_task(self._lift_soon(), name="lift the fault")
        try:
            await asyncio.wait_for(script.run(), 60)
        except ServerGone:
            outcome = await self._ended_by_itself()
        else:
            outcome = await self._stopped()
        finally:
            lifting.cancel()
            await asyncio.gather(lifting, return_exceptions=True)
        if control.injected:
            self.tally.injected += 1
            self.tally.outcomes[outcome] += 1
            self.tally.answers.update(script.memory.answers)
        return bool(control.injected)

    async def _ended_by_itself(self) -> str:
        assert await self.server.ended() == 1, self.server.log
        assert self.server.control.injected, "it ended without a fault"
        _assert_explained(self.server.log)
        return "exited with 1"

    async def _stopped(self) -> str:
        code = await self.server.stop()
        if code == 0:
            return "served on"
        assert code == 1, self.server.log
        _assert_explained(self.server.log)
        return "exited with 1 at the stop"

    async def _refused(self, status: int, answer: Json) -> None:
        """At a refusal the server says that it is not healthy, and what it says to a client is for a client."""
        assert "Traceback" not in str(answer)
        assert str(self.server.db) not in str(answer)

    async def _lift_soon(self) -> None:
        control = self.server.control
        while not control.injected:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        control.lift()


def _assert_explained(log: str) -> None:
    """The last that the server said is one line for a user, and no traceback."""
    assert log.splitlines()[-1].startswith("workflow-server: "), log


@asynccontextmanager
async def trials(folder: Path, library: Path, tally: Tally) -> AsyncIterator[Trials]:
    folder.mkdir()
    async with FaultedServer(folder, library) as server:
        yield Trials(server, tally)


async def test_probe(tmp_path: Path, library: Path, extent: Extent) -> None:
    import os

    kind, err, lasts, step = os.environ["PROBE"].split(",")
    tally = Tally()
    async with trials(tmp_path / "x", library, tally) as t:
        n = int(os.environ.get("PROBE_FROM", "1"))
        while await t.session(Fault(kind, n, getattr(errno, err), bool(int(lasts)))):
            try:
                await t.judge()
            except BaseException as e:
                e.add_note(f"n={n} file={t.server.control.failed_file} {tally.outcomes}")
                raise
            n += int(step)
        print(n, tally.outcomes, tally.answers)
