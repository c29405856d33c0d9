"""Hostile requests, sent a few at a time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable

from tests.reliability.hostility import Hostile
from tests.reliability.hostility.besieged import Besieged
from tests.reliability.hostility.raw_http import Answer, exchange
from tests.reliability.hostility.verdict import FOLLOW_UP, verdict

AT_ONCE = 100
"""Connections at a time."""
PATIENCE = 3.0
"""Seconds of silence after which a client whose request never ends leaves by itself."""


class Bombardment:
    """Sends hostile requests and looks after each whether the server still serves."""

    def __init__(self, server: Besieged) -> None:
        self._server = server
        self._room = asyncio.Semaphore(AT_ONCE)
        self.answers: list[Answer] = []
        self.problems: list[str] = []

    async def send(self, requests: Iterable[Hostile]) -> None:
        """All of them."""
        async with asyncio.TaskGroup() as group:
            for number, hostile in enumerate(requests):
                group.create_task(self._send(hostile), name=f"hostile request {number}")

    async def _send(self, hostile: Hostile) -> None:
        pieces = [self._server.aimed(piece) for piece in hostile.pieces]
        if hostile.follow_up:
            pieces[-1] += FOLLOW_UP
        patience = PATIENCE if hostile.silence or not hostile.follow_up else None
        async with self._room:
            try:
                received = await exchange(self._server.port, pieces, patience=patience)
            except TimeoutError:
                self.problems.append(f"{hostile.name}: the connection stays open")
                return
            async with self._server.session.get("/health") as response:
                if response.status != 200:
                    self.problems.append(f"{hostile.name}: unhealthy afterwards")
        problem, answers = verdict(hostile, received)
        self.answers += answers
        if problem is not None:
            self.problems.append(f"{hostile.name}: {problem}")

    @property
    def statuses(self) -> Counter[int]:
        """The number of answers by status."""
        return Counter(answer.status for answer in self.answers)

    @property
    def acknowledged(self) -> set[str]:
        """The handlers that were answered with 200."""
        bodies = [answer.body for answer in self.answers if answer.status == 200 and b'"handler_id"' in answer.body]
        return {json.loads(body)["handler_id"] for body in bodies if body.startswith(b'{"handler_id"')}
