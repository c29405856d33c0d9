"""The clients of the recorded session: whatever they are told, they note as promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from tests.harness.api import Api, Json, StreamEvent
from tests.reliability.power.contents import entry_fact, event_fact

Mark = Callable[..., None]


BIG = 12
"""Of each round's numbers, the one whose answer fills more of the log than the log may keep."""
ROUND = 20


def answer_text(number: int) -> str:
    """Return the text that answers the question of this run."""
    return f"answer-{number}{'y' * 60_000 if number % ROUND == BIG else ''}"


def answer_body(number: int) -> Json:
    """The same, as it is posted."""
    return {"event": {"type": "Answer", "value": {"text": answer_text(number)}}}


def answer_key(number: int) -> str:
    """The idempotency key that it is posted with."""
    return f"answer-key-{number}"


class Clients:
    """They start, read, answer, continue, cancel and purge, side by side."""

    def __init__(self, session: aiohttp.ClientSession, url: str, mark: Mark, *, life: int) -> None:
        self.halfway = asyncio.Event()
        """Set when a question has been answered."""
        self._api = Api(session)
        self._api.url = url
        self._mark = mark
        self._number = life * 1_000
        self._completed: list[tuple[str, int]] = []

    async def work(self, *, leave: bool = False) -> None:
        """One round. With ``leave``, questions stay unanswered for the next life of the server."""
        number = self._number
        self._number += ROUND
        jobs = [
            self._chain(number + 1, 4),
            self._chain(number + 2, 14),
            self._spread(number + 3, 5),
            self._asks(number + 4),
            self._cancelled(number + 5),
            self._failed(number + 6),
            self._waited_for(number + 7),
            self._early(number + 13),
        ]
        if leave:
            jobs += [self._left(number + 8), self._left(number + 9), self._chain(number + 10, 30, slow=True)]
        if len(self._completed) > 3:
            jobs += [self._continued(number + 11), self._purged(), self._big(number + BIG)]
        await asyncio.gather(*jobs)

    # -- What they do --------------------------------------------------------------------------

    async def _chain(self, number: int, size: int, slow: bool = False) -> None:
        handler_id = await self._start("chain", number, {"size": size, "slow": slow}, [number, size])
        # One of the two by the handler's shared queue.
        await self._read(handler_id, queued=size == 4)
        self._completed.append((handler_id, size))

    async def _spread(self, number: int, size: int) -> None:
        result = [[str(place) for place in range(size)], size]
        await self._read(await self._start("spread", number, {"size": size}, result))

    async def _asks(self, number: int) -> None:
        handler_id = await self._start("asks", number, {}, [answer_text(number), 2])
        await self._read(handler_id, "Question")
        # Long enough for the run to leave memory.
        await asyncio.sleep(0.2)
        await self._answer(handler_id, number)
        self.halfway.set()
        await self._read(handler_id)
        history = (await self._api.wants("GET", f"/handlers/{handler_id}/history?limit=500"))["history"]
        noted = [entry for entry in history if entry["sequence"] is None and entry["kind"] != "started"]
        assert "event_sent" in {entry["kind"] for entry in noted}
        facts = [entry_fact(handler_id, entry["cursor"], entry["kind"]) for entry in noted]
        self._mark("kept", handler=handler_id, facts=facts)

    async def _early(self, number: int) -> None:
        handler_id = await self._start("asks_later", number, {}, [answer_text(number), 1])
        await self._answer(handler_id, number)
        await self._read(handler_id)

    async def _left(self, number: int) -> None:
        handler_id = await self._start("asks", number, {}, [answer_text(number), 2])
        await self._read(handler_id, "Question")
        if number % 2:
            await self._answer(handler_id, number)

    async def _big(self, number: int) -> None:
        handler_id = await self._start("asks", number, {}, [answer_text(number), 2])
        await self._answer(handler_id, number)
        await self._read(handler_id)
        await self._purge(handler_id)

    async def _cancelled(self, number: int) -> None:
        handler_id = await self._start("asks", number, {}, [answer_text(number), 2])
        await self._read(handler_id, "Question")
        self._mark("ending", handler=handler_id)
        await self._api.wants("POST", f"/handlers/{handler_id}/cancel")
        self._mark("ended", handler=handler_id, status="cancelled")
        await self._read(handler_id)

    async def _failed(self, number: int) -> None:
        await self._read(await self._start("fails", number, {}, None))

    async def _waited_for(self, number: int) -> None:
        body = {"start_event": {"number": number, "size": 2}}
        key = f"key-{number}"
        _, handler = await self._api.call("POST", "/workflows/chain/run", body, headers={"Idempotency-Key": key})
        assert handler["status"] == "completed"
        self._mark("kept", handler=handler["handler_id"], facts=[key, handler["run_id"]])
        self._mark("expected", handler=handler["handler_id"], run=handler["run_id"], result=[number, 2])

    async def _continued(self, number: int) -> None:
        handler_id, count = self._completed.pop(0)
        self._mark("ending", handler=handler_id)
        await self._start("chain", number, {"size": 3}, [number, count + 3], handler_id=handler_id)
        await self._read(handler_id)
        self._completed.append((handler_id, count + 3))

    async def _purged(self) -> None:
        handler_id, _ = self._completed.pop(0)
        await self._purge(handler_id)

    # -- How they do it ------------------------------------------------------------------------

    async def _start(
        self, workflow: str, number: int, fields: Json, result: object, *, handler_id: str | None = None
    ) -> str:
        body: Json = {"start_event": {"number": number, **fields}}
        if handler_id is not None:
            body["handler_id"] = handler_id
        if number % 3 == 0:
            body["tags"] = [f"tag-{number}"]
        handler = await self._api.wants("POST", f"/workflows/{workflow}/run-nowait", body)
        made, run_id = str(handler["handler_id"]), handler["run_id"]
        self._mark("kept", handler=made, facts=[made, run_id, *body.get("tags", ())])
        self._mark("expected", handler=made, run=run_id, result=result)
        return made

    async def _answer(self, handler_id: str, number: int) -> None:
        key = {"Idempotency-Key": answer_key(number)}
        await self._api.wants("POST", f"/events/{handler_id}", answer_body(number), headers=key)
        self._mark("kept", handler=handler_id, facts=[answer_text(number)])

    async def _read(self, handler_id: str, until: str | None = None, *, queued: bool = False) -> None:
        async for event in self._api.stream(handler_id, None if queued else -1):
            self._mark("kept", handler=handler_id, facts=[_fact(handler_id, event)])
            if event.type == until:
                return

    async def _purge(self, handler_id: str) -> None:
        self._mark("purging", handler=handler_id)
        await self._api.wants("POST", f"/handlers/{handler_id}/cancel?purge=true")
        self._mark("purged", handler=handler_id)


def _fact(handler_id: str, event: StreamEvent) -> str:
    return event_fact(handler_id, event.sequence, event.type, event.value)
