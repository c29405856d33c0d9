"""Rights of a role beyond its route, and the names of tokens in logs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from tests.harness.waiting import until
from tests.web.conftest import Serve, Served
from tests.web.test_access_log import fields
from workflow_server.log_context import principal
from workflow_server.web.access.token_file import add_token
from workflow_server.web.roles import ROLES


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    return {role: add_token(tmp_path / "tokens.jsonl", f"team-{role}", role) for role in ROLES}


@pytest.fixture
async def guarded(serve: Serve, tmp_path: Path, tokens: dict[str, str]) -> Served:
    return await serve(token_file=str(tmp_path / "tokens.jsonl"), access_log=True)


async def test_the_role_run_cancels_but_does_not_delete(guarded: Served, tokens: dict[str, str]) -> None:
    _, handler = await guarded.post("/workflows/ask/run-nowait", headers=bearer(tokens["run"]))
    path = f"/handlers/{handler['handler_id']}/cancel"
    status, answer = await guarded.post(f"{path}?purge=true", headers=bearer(tokens["run"]))
    assert (status, "'full'" in answer["detail"]) == (403, True)
    assert (await guarded.get(f"/handlers/{handler['handler_id']}", headers=bearer(tokens["read"])))[0] == 202
    assert (await guarded.post(path, headers=bearer(tokens["read"])))[0] == 403
    assert await guarded.post(path, headers=bearer(tokens["run"])) == (200, {"status": "cancelled"})
    assert await guarded.post(f"{path}?purge=true", headers=bearer(tokens["full"])) == (200, {"status": "deleted"})


async def test_the_shared_queue_needs_the_role_run(guarded: Served, tokens: dict[str, str]) -> None:
    _, handler = await guarded.post("/workflows/count/run", headers=bearer(tokens["run"]))
    path = f"/events/{handler['handler_id']}?acquire_timeout=1"
    assert (await guarded.get(path, headers=bearer(tokens["read"])))[0] == 403
    async with guarded.client.get(path, headers=bearer(tokens["run"])) as response:
        assert response.status == 200


async def test_the_access_log_names_the_token(
    guarded: Served, tokens: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "workflow_server.access")
    await guarded.post("/workflows/echo/run", headers=bearer(tokens["run"]))
    await guarded.post("/workflows/echo/run", headers=bearer(tokens["read"]))
    await until(lambda: len(fields(caplog)) == 2, "each request is logged when it is over")
    assert [(line["status"], line["token"]) for line in fields(caplog)] == [(200, "team-run"), (403, "team-read")]
    assert not any(token in caplog.text for token in tokens.values())


async def test_the_name_of_the_token_is_known_behind_the_checks(
    serve: Serve, tmp_path: Path, tokens: dict[str, str]
) -> None:
    seen: list[str | None] = []

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append(principal.get())
        seen.append(await asyncio.create_task(named()))
        return await handler(request)

    async def named() -> str | None:
        return principal.get()

    served = await serve(token_file=str(tmp_path / "tokens.jsonl"), middlewares=(note,))
    for headers in (bearer(tokens["run"]), bearer(tokens["read"]), {}):
        # One connection, whose requests are answered by one task.
        await served.get("/workflows", headers=headers)
        await served.get("/health", headers=headers)
    assert seen == ["team-run"] * 2 + [None] * 2 + ["team-read"] * 2 + [None] * 4


async def test_a_route_of_the_users_own_needs_a_token_by_its_method(serve: Serve, tokens: dict[str, str]) -> None:
    for method, path in (("GET", "/nothing"), ("POST", "/nothing"), ("PUT", "/workflows")):
        served = await serve(tokens=("a-token-that-may-do-all",), read_tokens=("a-token-that-may-read",))
        async with served.client.request(method, path) as response:
            assert response.status == 401
        async with served.client.request(method, path, headers=bearer("a-token-that-may-read")) as response:
            assert response.status == (405 if method == "PUT" else 404)
