"""Trials of a server's storage: each has one fault, and is judged after the next start without faults."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.harness.api import Json
from tests.reliability.faulty_disk.faulting import Fault, FaultedServer
from tests.reliability.faulty_disk.scripted_session import GONE, Memory, ScriptedSession, ServerGone
from tests.reliability.faulty_disk.scripted_verdict import judge

NO_FAULT = Fault("write", 0, 0)
HELD = 0.5
"""Seconds for which a fault that lasts is left in place after a client was refused for it."""
UNNOTICED = 5.0
"""Seconds after which nobody will be refused for it: it is in the way of what nobody waits for."""


class Tally:
    """The sum of all trials."""

    def __init__(self) -> None:
        self.injected: Counter[str] = Counter()
        """Number of trials with a fault that happened, by the kind of call."""
        self.outcomes: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.unhealthy = 0
        """Number of times that the server said that it could not commit, while it could not."""

    @property
    def trials(self) -> int:
        return self.injected.total()

    def note(self, fault: Fault, outcome: str) -> None:
        self.injected[fault.kind] += 1
        self.outcomes[outcome] += 1

    def figures(self) -> str:
        calls = ", ".join(f"{kind} {times}" for kind, times in sorted(self.injected.items()))
        return f"{calls}; {', '.join(f'{times} {outcome}' for outcome, times in sorted(self.outcomes.items()))}"


def sample(calls: int, wanted: int, seed: str) -> list[int]:
    """``wanted`` of the calls 1 … ``calls``, evenly spread; all of them where there are no more."""
    if not wanted:
        return []
    if wanted >= calls:
        return list(range(1, calls + 1))
    step = calls / wanted
    offset = random.Random(seed).random()
    return [min(calls, int((place + offset) * step) + 1) for place in range(wanted)]


class Trials:
    """Trials one after the other, on one database."""

    def __init__(self, server: FaultedServer, tally: Tally) -> None:
        self.server = server
        self.tally = tally
        self._memory = Memory()
        self._number = 0
        self._was_refused = asyncio.Event()

    async def judge(self) -> None:
        """Start without faults, and hold what is there against what was acknowledged."""
        self.server.control.lift()
        await self.server.start()
        await judge(self.server.api, self._memory)
        self._memory = Memory()

    async def all(self, faults: Sequence[Fault]) -> None:
        """A session with each of the faults."""
        for fault in faults:
            try:
                await self.judge()
                await self.session(fault)
            except BaseException as error:
                error.add_note(f"in the trial of {fault}, or in judging the one before")
                raise
        await self.judge()
        assert await self.server.stop() == 0

    # -- A session under a fault ---------------------------------------------------------------

    async def session(self, fault: Fault) -> None:
        """One session with this fault, on a server that was started without."""
        control = self.server.control
        script = self._script()
        self._was_refused.clear()
        control.arm(fault)
        lifting = asyncio.create_task(self._lift_soon(), name="lift the fault")
        try:
            await asyncio.wait_for(script.run(), 90)
        except ServerGone:
            outcome = await self._ended_by_itself()
        else:
            outcome = await self._stopped()
        finally:
            lifting.cancel()
            await asyncio.gather(lifting, return_exceptions=True)
        if control.injected:
            if fault.kind == "fsync":
                # Whatever SQLite makes of it: a second fsync that succeeds would prove nothing.
                assert outcome != "went on", "it trusts a disk that did not sync"
                assert "known only after a restart" in self.server.log
            self.tally.note(fault, outcome)
            self.tally.answers.update(script.memory.answers)

    async def counts(self) -> dict[str, int]:
        """Return the number of calls of each kind in a session without faults."""
        await self.judge()
        await self.session(NO_FAULT)
        return self.server.control.counts()

    def _script(self) -> ScriptedSession:
        self._number += 1
        script = ScriptedSession(self.server.api, f"s{self._number}", self._refused)
        self._memory = script.memory
        return script

    async def _ended_by_itself(self) -> str:
        assert await self.server.ended() == 1, self.server.log
        assert self.server.control.injected, f"it ended without a fault: {self.server.log}"
        assert_explained(self.server.log)
        return "exited 1"

    async def _stopped(self) -> str:
        self._was_refused.set()  # Nobody asks any more.
        code = await self.server.stop()
        if code == 0:
            return "went on"
        assert code == 1, self.server.log
        assert_explained(self.server.log)
        return "exited 1 at SIGTERM"

    async def _refused(self, answer: Json) -> None:
        """A refusal is for a client's eyes, and the server does not call itself healthy meanwhile."""
        assert "Traceback" not in str(answer)
        assert str(self.server.db.parent) not in str(answer)
        with suppress(*GONE):
            status, health = await self.server.api.call("GET", "/health")
            if self.server.control.lasts:
                assert status == 503, f"it cannot commit, and says {health}"
                self.tally.unhealthy += 1
        self._was_refused.set()

    async def _lift_soon(self) -> None:
        control = self.server.control
        await control.until_injected()
        with suppress(TimeoutError):
            async with asyncio.timeout(UNNOTICED):
                await self._was_refused.wait()
        await asyncio.sleep(HELD)
        control.lift()

    # -- A start under a fault -----------------------------------------------------------------

    async def starts(self, faults: Sequence[Fault]) -> None:
        """A start with each of the faults, each after a kill in the middle of a session."""
        for fault in faults:
            try:
                await self.judge()
                await self._interrupted()
                await self.start(fault)
            except BaseException as error:
                error.add_note(f"in the trial of {fault}, or in judging the one before")
                raise
        await self.judge()
        assert await self.server.stop() == 0

    async def _interrupted(self) -> None:
        await self._script().begin()
        await self.server.kill()

    async def start(self, fault: Fault) -> None:
        """A start under this fault: it comes to serve, or says in a line why not."""
        control = self.server.control
        self._was_refused.set()  # Nobody is there to be refused.
        control.arm(fault)
        lifting = asyncio.create_task(self._lift_soon(), name="lift the fault")
        try:
            code = await self.server.try_start()
        finally:
            lifting.cancel()
            await asyncio.gather(lifting, return_exceptions=True)
        if code is None:
            outcome = "served"
            if not control.injected:
                control.lift()
            await self.server.kill()
        else:
            # 2 is for what was wrong before the server was there, 1 for a store that failed once it was.
            assert code in (1, 2), self.server.log
            assert control.injected, f"it did not start, without a fault: {self.server.log}"
            assert_explained(self.server.log)
            outcome = f"exited {code} at the start"
        if control.injected:
            self.tally.note(fault, outcome)

    async def start_counts(self) -> dict[str, int]:
        """Return the number of calls of each kind in a start after a kill."""
        await self.judge()
        await self._interrupted()
        self.server.control.arm(NO_FAULT)
        await self.server.start()
        counts = self.server.control.counts()
        await self.server.kill()
        return counts


def assert_explained(log: str) -> None:
    """The last that the server said is one line for a user, and no traceback."""
    last = log.splitlines()[-1]
    assert last.startswith("workflow-server: "), log
    assert "disk I/O error" not in last or "Restore a backup" not in last, f"a failed disk is no damaged file: {last}"


def new_folder(parent: Path, name: str) -> Path:
    """A folder for one database and what goes with it."""
    folder = parent / name
    folder.mkdir()
    return folder
