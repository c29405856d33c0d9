"""A file of tokens that is read again: new tokens, revoked ones and their streams, and files that cannot be used."""

# ruff: noqa: ASYNC240 files on a local disk

from __future__ import annotations

import asyncio
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served
from workflow_server.errors import StartupError
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.web.access.token_file import add_token, read_token_file, revoke_token
from workflow_server.web.access.tokens import Tokens
from workflow_server.web.roles import Token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.jsonl"


async def status(served: Served, token: str) -> int:
    return (await served.get("/workflows", headers=bearer(token)))[0]


async def test_tokens_come_and_go_when_the_file_is_read_again(serve: Serve, file: Path) -> None:
    old = add_token(file, "old", "read")
    served = await serve(token_file=str(file))
    new = add_token(file, "new", "read")
    revoke_token(file, "old")
    assert [await status(served, token) for token in (old, new)] == [200, 401]
    await served.server.reload()
    assert [await status(served, token) for token in (old, new)] == [401, 200]


async def test_a_token_is_revoked_though_steps_occupy_all_threads(serve: Serve, file: Path) -> None:
    token = add_token(file, "team", "read")
    served = await serve(token_file=str(file))
    over = threading.Event()
    pool = ThreadPoolExecutor(max_workers=1)
    asyncio.get_running_loop().set_default_executor(pool)
    slow = asyncio.create_task(asyncio.to_thread(over.wait, 30))
    try:
        revoke_token(file, "team")
        await asyncio.wait_for(served.server.reload(), 5)
        assert await status(served, token) == 401
    finally:
        over.set()
        await slow


def test_of_two_reads_at_once_the_later_one_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = add_token(file, "team", "read")
    tokens = Tokens(file=str(file))
    has_read, goes_on = threading.Event(), threading.Event()

    def held_up(path: str) -> list[Token]:
        found = read_token_file(path)
        if not has_read.is_set():
            has_read.set()
            goes_on.wait(5)
        return found

    monkeypatch.setattr("workflow_server.web.access.tokens.read_token_file", held_up)
    first, second = threading.Thread(target=tokens.load), threading.Thread(target=tokens.load)
    first.start()
    assert has_read.wait(5)
    revoke_token(file, "team")
    second.start()
    second.join(0.2)
    goes_on.set()
    first.join()
    second.join()
    assert tokens.find(token.encode()) is None


async def test_a_bad_file_is_one_line_and_the_old_tokens_stay(
    serve: Serve, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = add_token(file, "team", "read")
    served = await serve(token_file=str(file))
    good = file.read_text()
    for spoil in (lambda: file.write_text("wfs_secret"), lambda: file.chmod(0o644), file.unlink):
        caplog.clear()
        spoil()
        await served.server.reload()
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "The tokens of before stay." in record.getMessage()
        assert "wfs_secret" not in record.getMessage()
        assert "\n" not in record.getMessage()
        assert record.exc_info is None
        assert await status(served, token) == 200
    file.write_text(good)
    file.chmod(0o600)
    await served.server.reload()
    assert await status(served, token) == 200


def test_a_file_that_cannot_be_used_prevents_the_start(file: Path, tmp_path: Path) -> None:
    server = WorkflowServer(settings=Settings(token_file=str(file), db=str(tmp_path / "db")))
    with pytest.raises(StartupError, match="No such file"):
        _ = server.app
    file.touch(0o600)
    # Without a token, nobody gets in: the file says that they are needed.
    assert server.openapi_schema()["security"][0] == {"token": []}
    assert server.app is server.app


async def test_an_empty_file_lets_nobody_in(serve: Serve, file: Path) -> None:
    file.touch(0o600)
    served = await serve(token_file=str(file))
    for headers in ({}, bearer(""), bearer("x")):
        assert (await served.get("/workflows", headers=headers))[0] == 401


@pytest.mark.parametrize("by_cookie", [False, True])
async def test_streams_of_a_revoked_token_end_and_those_of_others_go_on(
    serve: Serve, file: Path, by_cookie: bool
) -> None:
    old, other = add_token(file, "old", "run"), add_token(file, "other", "run")
    served = await serve(token_file=str(file))
    headers = bearer(old)
    if by_cookie:
        async with served.client.post("/session", headers=bearer(old)) as response:
            headers = {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}
        served.client.cookie_jar.clear()
    _, handler = await served.post("/workflows/ask/run-nowait", headers=bearer(other))
    path = f"/events/{handler['handler_id']}?after_sequence=-1&sse=false"
    changes = "/handlers/stream?sse=false"
    async with (
        served.client.get(path, headers=headers) as ends,
        served.client.get(path, headers=bearer(other)) as on,
        served.client.get(changes, headers=headers) as follows,
    ):
        assert b"cursor" in await follows.content.readline()
        assert b"Asked" in await ends.content.readline()
        assert b"Asked" in await on.content.readline()
        waiting = asyncio.create_task(served.post("/workflows/ask/run", headers=headers))

        async def both_run() -> bool:
            return len((await served.get("/handlers", headers=bearer(other)))[1]["handlers"]) == 2

        await until_seen(both_run, "the second run did not begin")
        revoke_token(file, "old")
        await served.server.reload()
        with pytest.raises(ClientPayloadError):
            # Without its last chunk, so that nobody takes it for the end of the run.
            await ends.content.read()
        with pytest.raises(ClientPayloadError):
            await follows.content.read()
        assert [(await served.get(one, headers=headers))[0] for one in (path, changes)] == [401, 401]
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        _, runs = await served.get("/handlers", headers=bearer(other))
        for run in runs["handlers"]:
            assert (await served.post(f"/events/{run['handler_id']}", json=answer, headers=bearer(other)))[0] == 200
        assert b"StopEvent" in await on.content.read()
        # Its run was started in time, and is answered.
        assert (await waiting)[0] == 200


async def test_a_list_that_a_revoked_token_reads_slowly_breaks_off(serve: Serve, file: Path) -> None:
    old, other = add_token(file, "old", "read"), add_token(file, "other", "run")
    served = await serve(token_file=str(file), send_buffer=4_096)
    body = {"start_event": {"text": "x" * 400_000}}
    for _ in range(25):
        assert (await served.post("/workflows/echo/run", json=body, headers=bearer(other)))[0] == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=4_096)
    try:
        head = "GET /handlers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        writer.write(f"{head}Authorization: Bearer {old}\r\n\r\n".encode())
        assert b"200" in await reader.readline()
        revoke_token(file, "old")
        await served.server.reload()
        read = b""
        while part := await asyncio.wait_for(reader.read(65_536), 10):
            read += part
        # Of 10 MB, what the kernel had and the one write that was under way.
        assert len(read) < 7_000_000
        assert not read.endswith(b"0\r\n\r\n")
    finally:
        writer.close()


async def test_a_token_expires_with_its_streams(serve: Serve, file: Path) -> None:
    over, brief = add_token(file, "over", "run", timedelta(0)), add_token(file, "brief", "run", timedelta(days=1))
    served = await serve(token_file=str(file))
    code, answer = await served.get("/workflows", headers=bearer(over))
    assert (code, "expired" in answer["detail"]) == (401, True)
    _, handler = await served.post("/workflows/ask/run-nowait", headers=bearer(brief))
    async with served.client.get(f"/events/{handler['handler_id']}?sse=false", headers=bearer(brief)) as stream:
        assert stream.status == 200
        file.write_text(re.sub('"expires": "[0-9]{4}', '"expires": "2020', file.read_text()))
        await served.server.reload()
        with pytest.raises(ClientPayloadError):
            await stream.content.read()
    assert await status(served, brief) == 401
