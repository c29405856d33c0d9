"""The stream of changes over the death of its server: a cursor of before is a reset, never a gap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp

from tests.harness.api import Json
from tests.harness.server_process import DurableServer


async def changes(server: DurableServer, cursor: str = "") -> AsyncIterator[Json]:
    """The lines of the stream, until it breaks off."""
    url = f"{server.api.url}/handlers/stream?sse=false&cursor={cursor}"
    async with server.api.session.get(url, timeout=aiohttp.ClientTimeout(total=60)) as response:
        assert response.status == 200
        with suppress(aiohttp.ClientError):
            async for line in response.content:
                yield json.loads(line)


async def test_a_reader_of_a_killed_server_loads_the_list_again(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "flows.py") as server:
        handler_id = ""
        cursor = ""
        async for line in changes(server):
            cursor = line["cursor"]
            handler_id = handler_id or (await server.api.start("asks"))["handler_id"]
            if line.get("handler", {}).get("now", {}).get("state") == "waiting":
                # Changes that it never hears of follow.
                await server.kill()
        await server.start()
        seen: list[Json] = []
        async for line in changes(server, cursor):
            seen.append(line)
            if "reset" in line:
                found = await server.api.wants("GET", "/handlers?limit=10&include=now")
                assert [one["handler_id"] for one in found["handlers"]] == [handler_id]
                await server.api.send(handler_id, "Answer", number=5)
            elif line.get("handler", {}).get("status") == "completed":
                assert line["handler"]["now"]["summary"] == "5"
                break
        assert "another process" in seen[0]["reset"]
        assert [line for line in seen[1:] if "reset" in line] == []
