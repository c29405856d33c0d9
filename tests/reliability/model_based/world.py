"""The server under attack beside the model of it, and how the two are compared."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.harness.api import as_listed
from tests.harness.server_process import DurableServer
from tests.reliability.model_based.model import Json, ModelHandler
from tests.reliability.model_based.stored_rows import check_file

TARGET = Path(__file__).parent.parent / "targets" / "notebooks.py"
OPTIONS = ("--idle-timeout", "0.3", "--grace-period", "0.2", "--max-attempts", "1000", "--log-level", "warning")
PATIENCE = 45.0
"""Seconds after which what is waited for will not come any more."""

CODES = {"completed": 200, "running": 202, "failed": 500, "cancelled": 500}


class Keyed(NamedTuple):
    """A request that was acknowledged under an idempotency key."""

    path: str
    body: Json
    key: str
    answer: Json
    handler_id: str


class World:
    """A server over a database of its own, what it must hold, and what was done to it."""

    def __init__(self, folder: Path, counts: Counter[str]) -> None:
        self.server = DurableServer(folder, str(TARGET), *OPTIONS)
        self.handlers: dict[str, ModelHandler] = {}
        self.purged: list[tuple[str, list[str]]] = []
        self.keys: list[Keyed] = []
        self.waiting: dict[str, asyncio.Task[tuple[int, Json] | None]] = {}
        """The clients that wait for the end of a run, by its handler."""
        self.told: dict[str, tuple[int, Json]] = {}
        """The answers that came at the moment in which the server died: they must hold."""
        self.interruptions = 0
        self.counts = counts
        self.transcript: list[str] = []
        self._number = 0
        self._alive = False

    def number(self) -> int:
        """A number that was not used before."""
        self._number += 1
        return self._number

    # -- Life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Start the server on an empty database."""
        await self.server.__aenter__()
        self._alive = True

    async def close(self, error: BaseException | None) -> None:
        """End the server, and say of an error what was asked and answered before it."""
        for task in self.waiting.values():
            task.cancel()
        await asyncio.gather(*self.waiting.values(), return_exceptions=True)
        if error is not None:
            error.add_note("What was asked and answered:\n" + "\n".join(self.transcript))
            if self._alive:
                error.add_note(f"The server's threads waited in: {', '.join(_threads(self.server.process.pid))}")
        await self.server.__aexit__(None if error is None else type(error), error, None)

    async def stop(self) -> None:
        """SIGTERM: a clean end, after which the file is looked at."""
        self.transcript.append("SIGTERM")
        code = await self.server.stop()
        assert code == 0, f"exit code {code}"
        await self._dead()
        for handler in self.handlers.values():
            handler.stopped()
        check_file(self.server.db, self.handlers.values(), self.purged)

    async def kill(self) -> None:
        """SIGKILL."""
        self.transcript.append("SIGKILL")
        self.counts["kills"] += 1
        self.counts["steps that a kill interrupted"] += sum(h.holding is not None for h in self.handlers.values())
        await self.server.kill()
        for handler in self.handlers.values():
            handler.killed()
        await self._dead()

    async def _dead(self) -> None:
        """Those who wait for a run hear of it: by an error, by 503, or they were told of its end just before."""
        self._alive = False
        self.interruptions += 1
        for handler_id, task in self.waiting.items():
            answer = await task
            if answer is not None and answer[0] != 503:
                self.told[handler_id] = answer
        self.waiting.clear()

    async def start(self) -> None:
        """Start it again: every run that was running is taken up."""
        await self.server.start()
        self._alive = True
        self.transcript.append(f"started; resumed {self.server.resumed}")

    # -- Requests ----------------------------------------------------------------------------------

    async def call(
        self, method: str, path: str, body: Json | None = None, key: str | None = None, **headers: str
    ) -> tuple[int, Json]:
        """The answer to one request."""
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            status, answer = await self.server.api.call(method, path, body, headers=headers)
        except (aiohttp.ClientError, ConnectionError) as error:
            self.transcript.append(f"{method} {path} {_short(body)} {key or ''} -> {type(error).__name__}")
            raise
        self.transcript.append(f"{method} {path} {_short(body)} {key or ''} -> {status} {_short(answer)}")
        if status >= 400 and not (status == 500 and "handler_id" in answer):
            assert answer.keys() - {"errors"} == {"detail"}, answer
            assert "errors" not in answer or status == 400, answer
        return status, answer

    async def wants(
        self, status: int, method: str, path: str, body: Json | None = None, key: str | None = None
    ) -> Json:
        """The answer to one request, which must be of this status."""
        code, answer = await self.call(method, path, body, key)
        assert code == status, f"{method} {path} {body} {key}: {code} {answer} instead of {status}"
        return answer

    async def wait_for_end(self, path: str, body: Json, key: str | None) -> tuple[int, Json] | None:
        """The answer to a client that waits for a run; None where the server died meanwhile."""
        try:
            return await self.call("POST", path, body, key)
        except (aiohttp.ClientError, ConnectionError):
            return None

    async def get(self, handler: ModelHandler) -> Json:
        """The handler as the server shows it, compared with the model."""
        answer = await self.wants(CODES[handler.status], "GET", f"/handlers/{handler.handler_id}")
        handler.check(answer)
        return answer

    # -- Reading -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def stream(
        self, handler_id: str, *, internal: bool, headers: dict[str, str] | None = None, **query: object
    ) -> AsyncIterator[tuple[int, AsyncIterator[Json]]]:
        """The status and the lines of a stream, which is left at the end of the block."""
        params = {**{name: str(value) for name, value in query.items()}, "include_internal": str(internal).lower()}
        url, timeout = f"{self.server.api.url}/events/{handler_id}", aiohttp.ClientTimeout(total=PATIENCE)
        async with self.server.api.session.get(url, params=params, headers=headers, timeout=timeout) as response:
            self.transcript.append(f"GET /events/{handler_id} {params} {headers or ''} -> {response.status}")
            yield response.status, _lines(response)

    async def settle(self, handler: ModelHandler) -> None:
        """Read the handler's log until all that it must publish has come, and to its end where the run is over."""
        ended = handler.status != "running"
        assert ended or handler.handler_id not in self.told, f"{handler} runs, and its end was told"
        if handler.settled:
            return
        after = len(handler.lines) - 1
        async with self.stream(handler.handler_id, internal=True, sse="false", after_sequence=after) as (status, lines):
            assert status == 200
            try:
                async for line in lines:
                    handler.learn(line)
                    if handler.settled and not ended:
                        break
            except TimeoutError as error:
                missing = handler.events[handler.matched :]
                raise AssertionError(f"{handler.handler_id} never published {missing}; {handler}") from error
        assert handler.settled, f"the stream of {handler.handler_id} ended before {handler.events[handler.matched :]}"
        handler.check_working(self.interruptions)
        if ended:
            await self._hear_end(handler)

    async def _hear_end(self, handler: ModelHandler) -> None:
        shown = await self.get(handler)
        told = await self.heard(handler.handler_id)
        if told is not None:
            assert told == (CODES[handler.status], as_listed(shown))
            self.counts["clients that waited for the end"] += 1

    async def heard(self, handler_id: str) -> tuple[int, Json] | None:
        """The answer to the client that waits, or waited, for the end of this handler's run; None without one."""
        task = self.waiting.pop(handler_id, None)
        return self.told.pop(handler_id, None) if task is None else await task

    # -- Comparing ---------------------------------------------------------------------------------

    async def check_list(self) -> None:
        """The list of handlers is the model's, oldest first."""
        listed = (await self.wants(200, "GET", "/handlers"))["handlers"]
        self.transcript.pop()
        self.compare_list(listed, list(self.handlers.values()))

    def compare_list(self, listed: list[Json], handlers: list[ModelHandler]) -> None:
        """These handlers and no others are listed, oldest first, each as the model has it."""
        handlers = sorted(handlers, key=lambda handler: handler.started_at)
        names = [entry["handler_id"] for entry in listed]
        assert names == [handler.handler_id for handler in handlers], f"{names} are listed, not {handlers}"
        for handler, entry in zip(handlers, listed, strict=True):
            if handler.settled:
                handler.check(entry)

    async def check_whole(self) -> None:
        """Everything that the server shows is the model's."""
        await self.check_list()
        for handler in self.handlers.values():
            await self.settle(handler)
            await self.get(handler)
            await self.check_log(handler)
        for keyed in self.keys:
            if not keyed.path.startswith("/events/"):
                assert await self.wants(200, "POST", keyed.path, keyed.body, keyed.key) == keyed.answer
        for handler_id, _ in self.purged:
            await self.wants(404, "GET", f"/handlers/{handler_id}")
            await self.wants(404, "GET", f"/events/{handler_id}?after_sequence=-1")

    async def check_log(self, handler: ModelHandler) -> None:
        """The whole log is what was read of it, and perhaps internal events more."""
        # Past the first event of all, since -1 stands for the start of the current run.
        read: list[Json] = []
        wanted = handler.lines[1:]
        async with self.stream(handler.handler_id, internal=True, sse="false", after_sequence=0) as (status, lines):
            assert status == (200 if wanted or handler.status == "running" else 204)
            while len(read) < len(wanted):
                read.append(await anext(lines))
        assert read == wanted, f"{read} instead of {wanted}"


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    sequence = -1
    async for raw in response.content:
        text = raw.decode().lstrip(" ")
        if text.startswith("{"):
            yield json.loads(text)
        elif text.startswith("id: "):
            sequence = int(text[4:])
        elif text.startswith("data: "):
            yield {**json.loads(text[6:]), "sequence": sequence}


def _threads(pid: int) -> list[str]:
    """Return what each thread of the server waits for in the kernel: a commit that hangs shows here."""
    tasks = Path(f"/proc/{pid}/task")
    return [f"{task.name} {(task / 'wchan').read_text()}" for task in tasks.iterdir()] if tasks.exists() else []


def _short(value: object) -> str:
    text = "" if value is None else json.dumps(value)
    return text if len(text) <= 400 else f"{text[:400]} …"
