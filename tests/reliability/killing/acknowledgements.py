"""Requests that are repeated until they are answered, each under a key of its own, and what was answered."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

from tests.harness.api import Api, Json

OTHER = 1_000_000
RETRY = 0.03
"""Seconds until a request that was not answered is sent again."""


class Answer(NamedTuple):
    """The answer to a request."""

    status: int
    body: bytes
    resent: bool
    """An earlier try of it was lost, perhaps after it had been acted upon."""

    @property
    def json(self) -> Json:
        """The body as it is meant."""
        value: Json = json.loads(self.body)
        return value


@dataclass
class Acknowledged:
    """A request that was answered 200, the key that it came under, and the handler that the key lasts as long as."""

    path: str
    content: Json
    key: str
    body: bytes
    handler_id: str


class Requests:
    """Sends requests to a server that dies and comes back."""

    def __init__(self, api: Api, up: asyncio.Event) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.lost = 0
        """Tries that were not answered."""
        self._api = api
        self._up = up

    async def insist(self, path: str, content: object = None, key: str | None = None) -> Answer:
        """The first answer but for 503, however often the request has to be sent for it."""
        headers = {} if key is None else {"Idempotency-Key": key}
        resent = False
        while True:
            await self._up.wait()
            try:
                answer = await self._post(path, content, headers)
                if answer.status != 503:
                    return answer._replace(resent=resent)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                self.lost += 1
            resent = True
            await asyncio.sleep(RETRY)

    async def acknowledge(self, path: str, content: Json, key: str, handler_id: str | None = None) -> Json:
        """The answer of a request that has to be accepted."""
        answer = await self.insist(path, content, key)
        assert answer.status == 200, f"{path} {content}: {answer}"
        handler_id = handler_id or answer.json["handler_id"]
        self.acknowledged.append(Acknowledged(path, content, key, answer.body, handler_id))
        return answer.json

    async def look(self, path: str) -> tuple[int, Any]:
        """Get the server's answer at this path."""
        while True:
            await self._up.wait()
            try:
                status, answer = await self._api.call("GET", path)
                if status != 503:
                    return status, answer
            except (aiohttp.ClientError, ConnectionError):
                self.lost += 1
            await asyncio.sleep(RETRY)

    async def _post(self, path: str, content: object, headers: dict[str, str]) -> Answer:
        url = f"{self._api.url}{path}"
        async with self._api.session.post(url, json=content, headers=headers) as response:
            return Answer(response.status, await response.read(), resent=False)


class Repeater:
    """Sends again what was acknowledged, perhaps long ago and by a server that is dead, and compares the answers."""

    def __init__(self, requests: Requests) -> None:
        self.repeated = 0
        self.refused = 0
        """Number of times that another body under the same key was refused."""
        self.wrong: list[str] = []
        self._requests = requests

    async def repeat(self, chance: random.Random, gone: set[str]) -> None:
        """Repeat one request of a handler that is not ``gone``, or its key with another body."""
        known = [request for request in self._requests.acknowledged if request.handler_id not in gone]
        if not known:
            return
        first = chance.choice(known)
        if chance.random() < 0.2:
            other = await self._requests.insist(first.path, _another(first.content), first.key)
            self.refused += 1
            if other.status != 422 and first.handler_id not in gone:
                self.wrong.append(f"{first.key}: another body is answered {other}")
            return
        again = await self._requests.insist(first.path, first.content, first.key)
        self.repeated += 1
        if (again.status, again.body) != (200, first.body) and first.handler_id not in gone:
            self.wrong.append(f"{first.key}: first answered {first.body!r}, then {again.status} {again.body!r}")


def _another(content: Json) -> Json:
    """A body that is as valid, and another one."""
    if "event" in content:
        return {"event": {**content["event"], "value": {"number": OTHER}}}
    return {**content, "start_event": {**content["start_event"], "number": OTHER}}
