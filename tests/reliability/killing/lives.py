"""The lives of a server that is killed over and over: how each of them ends, and what was done about it."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.harness.server_process import DidNotStart, DurableServer
from tests.reliability.killing.kill_points import KillPoint, checkpoint_points, commit_points, migration_points
from tests.store.fault_injection import ServerStarted, ServerStopped
from workflow_server.records import ServerAlive
from workflow_server.store.internal_records import ClocksShifted

TARGET = str(Path(__file__).parent.parent / "targets" / "killed.py")
ONCE = {kind.__name__ for kind in (ServerStarted, ClocksShifted, ServerAlive)}
"""Records that are written once in a short life."""
LONGEST_LIFE = 0.6
"""Seconds that a server lives at most before it is killed at a random moment."""
PATIENCE = 6.0
"""Seconds after which a server that has not come to its point is killed where it is."""
BURST = 5
"""Kills one after the other of servers that have hardly begun: whoever was in a step is so again each time."""
SUSPENDED = 5
RESTS = 0.1
"""A server with runs in quarantine gets the time to clear them: with this chance, or where there are more than so many.
A load that stands still loses nothing."""
LONGEST_REST = 30.0
WATCHED = 1.5
"""Seconds for which the last one that was cleared is left in peace: to die again in quarantine would be its fault."""
TRIES = 4
"""Lives after which a point that was not reached cannot be reached."""


class Plan(NamedTuple):
    """The planned end of a life: at a point, or after so many seconds; ``stops`` asks the server to stop before."""

    point: KillPoint | None = None
    after: float = 0.0
    stops: bool = False
    tries: int = 0


def plans(kills: int, chance: random.Random) -> list[Plan]:
    """So many ends: at migrations first, half of all at points — each kind of commit as often as any other, and each
    of them at a moment at least once — and the others at random moments, also in bursts and while the server stops."""
    first = [Plan(point) for point in migration_points()]
    points = checkpoint_points()
    chance.shuffle(points)
    by_kind: dict[str, list[KillPoint]] = {}
    for point in commit_points():
        by_kind.setdefault(point.kind, []).append(point)
    for kind in by_kind.values():
        chance.shuffle(kind)
    at_points = [*points, *(point for turn in zip(*by_kind.values(), strict=True) for point in turn)]
    wanted = max(kills // 2, len(points) + len(by_kind))
    named = [at_points[index % len(at_points)] for index in range(wanted)]
    planned = [[_at(point, chance)] for point in named]
    left = kills - len(first) - len(planned)
    for _ in range(left // (3 * BURST)):
        planned.append([Plan(None, chance.uniform(0.0, 0.05)) for _ in range(BURST)])
        left -= BURST
    for _ in range(left):
        stops = chance.random() < 0.15
        planned.append([Plan(None, chance.uniform(0.0, 0.15 if stops else LONGEST_LIFE), stops)])
    chance.shuffle(planned)
    return first + [plan for row in planned for plan in row]


def _at(point: KillPoint, chance: random.Random) -> Plan:
    if point.kind == ServerStopped.__name__:
        return Plan(point, chance.uniform(0.0, 0.3), stops=True)
    if not point.kind:
        # A checkpoint of its own accord comes after 250 commits; a stop makes two.
        return Plan(point._replace(nth=chance.choice((1, 2))), chance.uniform(0.0, 0.5), stops=chance.random() < 0.5)
    if point.kind in ONCE:
        return Plan(point)
    return Plan(point._replace(nth=chance.choice((1, 1, 2, 3))))


class Victim:
    """A server whose lives end as planned. ``up`` is set while it listens."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.server = DurableServer(folder, TARGET, *options)
        self.up = asyncio.Event()
        self.at_random = 0
        self.clean_stops = 0
        self.rests = 0
        """Number of times that the server had the time to clear runs that were on probation."""
        self.suspended: set[str] = set()
        """The handlers that were seen in quarantine."""
        self.while_stopping = 0
        self.at_points: Counter[str] = Counter()
        """Number of times that the server died at each point."""
        self.missed: list[KillPoint] = []
        """The points that were not reached, and so not died at."""
        self._report = folder / "killed-at"
        self._report.touch()

    async def die(self, todo: list[Plan], chance: random.Random) -> None:
        """Let the server live and die as planned; a point that it does not come to is tried again later."""
        while todo:
            plan = todo.pop(0)
            code = await self._live(plan, rests=chance.random() < RESTS)
            points = self._report.read_text().splitlines()
            if len(points) > sum(self.at_points.values()):
                self.at_points[points[-1]] += 1
                continue
            if code == 0:
                self.clean_stops += 1
                if plan.point is None:
                    todo.append(plan)
            else:
                self.at_random += 1
            if plan.point is not None:
                self._again(todo, plan, code, chance)

    @property
    def kills(self) -> int:
        """The number of times that the server was killed."""
        return self.at_random + sum(self.at_points.values())

    def _again(self, todo: list[Plan], plan: Plan, code: int, chance: random.Random) -> None:
        """Try for a point once more; where this was a kill, instead of a random one: their number stays what it is."""
        assert plan.point is not None
        if plan.tries + 1 == TRIES:
            self.missed.append(plan.point)
            return
        again = plan._replace(tries=plan.tries + 1, point=plan.point._replace(nth=1))
        places = [index for index, other in enumerate(todo) if other.point is None]
        if places and code:
            todo[chance.choice(places)] = again
        else:
            todo.append(again)

    async def _live(self, plan: Plan, *, rests: bool) -> int:
        """Its exit code."""
        self.server.environment = {} if plan.point is None else plan.point.environment(self._report)
        try:
            await self.server.start()
        except DidNotStart:
            if plan.point is None:
                raise
        else:
            self.up.set()
            if plan.point is None:
                await self._rest(rests=rests)
        code = await self._end(plan)
        self.up.clear()
        self.server.ledger.note_kill()
        # A server that was asked to stop may have done so before its time came.
        assert code == -signal.SIGKILL or (plan.stops and code == 0), f"exit code {code}\n{self.server.log_tail()}"
        return code

    async def _rest(self, *, rests: bool) -> None:
        suspended = await self._suspended()
        if not suspended or not (rests or suspended > SUSPENDED):
            return
        self.rests += 1
        async with asyncio.timeout(LONGEST_REST):
            while await self._suspended():  # noqa: ASYNC110 the one who clears them is another process
                await asyncio.sleep(0.1)
        await asyncio.sleep(WATCHED)

    async def _suspended(self) -> int:
        suspended = {handler["handler_id"] for handler in await self.server.api.running() if handler["suspended"]}
        self.suspended |= suspended
        return len(suspended)

    async def _end(self, plan: Plan) -> int:
        patience = PATIENCE
        if plan.stops and self.up.is_set():
            await asyncio.sleep(0.2 if plan.point is None else plan.after)
            self.server.terminate()
            self.while_stopping += 1
        if plan.point is None:
            patience = plan.after
        try:
            return await self.server.ended(patience)
        except subprocess.TimeoutExpired:
            # It was killed where it was.
            return -signal.SIGKILL

    async def live_on(self) -> None:
        """Start the server once more, to go on in peace."""
        self.server.environment = {}
        await self.server.start()
        self.up.set()
        await self._suspended()
