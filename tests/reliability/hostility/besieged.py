"""A server under attack, in a process of its own: what it serves, and that it is what it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import ServerProcess, StartServer
from tests.harness.api import Api, Json
from tests.reliability.hostility import SECRET

TARGET = Path(__file__).parent.parent / "targets" / "hostile.py"
TOKEN = "hunter2-hunter2-may-do-all"
READ_TOKEN = "hunter2-hunter2-may-only-read"
SIGNS = ("Traceback", "Unhandled", "never retrieved", "never awaited", " ERROR ", " CRITICAL ", SECRET.decode())
"""Signs that must not be in a server's log, whatever it is sent: of failures, and of texts that clients sent."""


class Besieged:
    """Has a handler that waits for a human and one that has ended; their ids take ten characters."""

    def __init__(self, process: ServerProcess, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.port = process.port
        self.session = session
        self.api = Api(session)
        self.waiting = self.ended = ""

    async def prepare(self) -> None:
        """Make the two handlers."""
        self.waiting = (await self.api.wants("POST", "/workflows/approve/run-nowait"))["handler_id"]
        self.ended = (await self.api.wants("POST", "/workflows/count/run"))["handler_id"]

    def aimed(self, piece: bytes) -> bytes:
        """The bytes, with the handlers' ids in the place of their names."""
        return piece.replace(b"@-WAITING-", self.waiting.encode()).replace(b"@--ENDED--", self.ended.encode())

    async def handlers(self) -> dict[str, Json]:
        """All handlers by id."""
        return {handler["handler_id"]: handler for handler in (await self.api.wants("GET", "/handlers"))["handlers"]}

    async def decided(self) -> Json:
        """Return the result that the waiting run makes of an honest answer, when it has ended."""
        await self.api.send(self.waiting, "Decision", approved=True, reason="honest")
        result: Json = await self.api.result(self.waiting)
        return result

    def signs(self) -> Counter[str]:
        """Return the signs of trouble in the log, and the number of each."""
        log = self.process.log.read_text(encoding="utf-8", errors="replace")
        return Counter({sign: log.count(sign) for sign in SIGNS if sign in log})


Besiege = Callable[..., Awaitable[Besieged]]


@pytest.fixture
async def besiege(start_server: StartServer, tmp_path: Path) -> AsyncIterator[Besiege]:
    """Start servers to attack, with these options; ``guarded`` ones ask for a token, which their session has."""
    async with AsyncExitStack() as stack:
        count = 0

        async def start(*options: str, guarded: bool = False) -> Besieged:
            nonlocal count
            count += 1
            environment = {
                "WORKFLOW_SERVER_TOKENS": TOKEN,
                "WORKFLOW_SERVER_READ_TOKENS": READ_TOKEN,
                # Every guess is tried: the limit has tests of its own.
                "WORKFLOW_SERVER_MAX_WRONG_TOKENS": "1000000",
            }
            process = start_server(
                TARGET, *options, db=tmp_path / f"{count}.sqlite3", env=environment if guarded else None
            )
            headers = {"Authorization": f"Bearer {TOKEN}"} if guarded else None
            session = aiohttp.ClientSession(process.url, headers=headers, timeout=aiohttp.ClientTimeout(total=60))
            besieged = Besieged(process, await stack.enter_async_context(session))
            await besieged.prepare()
            return besieged

        yield start
