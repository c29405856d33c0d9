"""TLS: answers and streams over it, readers that stall, and sessions."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientError

from tests.harness.certificates import Pair, certificate
from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served
from workflow_server.web.access.authentication import SAFE_COOKIE
from workflow_server.web.exceptions import CertificateError
from workflow_server.web.http_server.tls import Certificate

Secured = Callable[..., Awaitable[tuple[Served, Pair]]]
TOKEN = "a-token-that-may-do-all"


@pytest.fixture
def secured(serve: Serve, tmp_path: Path) -> Secured:
    """Start servers with a certificate."""
    pair = certificate(tmp_path, "server")

    async def start(**settings: object) -> tuple[Served, Pair]:
        return await serve(tls=Certificate(str(pair.cert), str(pair.key)).context, **settings), pair

    return start


async def test_a_long_stream_and_a_long_list_arrive_whole(secured: Secured) -> None:
    served, pair = await secured(send_buffer=4_096)
    context = pair.trusting()
    body = {"start_event": {"n": 3_000, "text": "x" * 300}}
    async with served.client.post("/workflows/count/run", json=body, ssl=context) as response:
        handler_id = (await response.json())["handler_id"]
    for query in ("sse=false", "sse=true", "sse=false&acquire_timeout=1"):
        async with served.client.get(f"/events/{handler_id}?{query}", ssl=context) as stream:
            assert (await stream.text()).count('"Counted"') == 3_000
    async with served.client.get("/handlers", ssl=context) as response:
        assert len((await response.json())["handlers"]) == 1


async def test_a_live_stream_is_written_at_once(secured: Secured) -> None:
    served, pair = await secured()
    context = pair.trusting()
    async with served.client.post("/workflows/ask/run-nowait", ssl=context) as response:
        handler_id = (await response.json())["handler_id"]
    async with served.client.get(f"/events/{handler_id}?sse=false", ssl=context) as stream:
        assert b"Asked" in await stream.content.readline()
        answer = {"event": {"type": "Answered", "value": {"text": "yes"}}}
        async with served.client.post(f"/events/{handler_id}", json=answer, ssl=context) as response:
            assert response.status == 200
        assert b"StopEvent" in await stream.content.read()


async def test_a_reader_that_stalls_holds_its_stream_for_a_while(secured: Secured) -> None:
    served, pair = await secured(write_timeout=0.5, send_buffer=4_096, max_streams=1)
    context = pair.trusting()
    body = {"start_event": {"n": 3_000, "text": "x" * 1_000}}
    async with served.client.post("/workflows/count/run", json=body, ssl=context) as response:
        handler_id = (await response.json())["handler_id"]
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.settimeout(30)
    await asyncio.to_thread(plain.connect, ("127.0.0.1", served.port))
    with await asyncio.to_thread(context.wrap_socket, plain, server_hostname="127.0.0.1") as stalled:
        request = f"GET /events/{handler_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        await asyncio.to_thread(stalled.sendall, request)
        assert await asyncio.to_thread(stalled.recv, 1) == b"H"

        async def is_free() -> bool:
            async with served.client.get(f"/events/{handler_id}?after_sequence=2999", ssl=context) as response:
                return response.status == 200

        await until_seen(is_free, "the stalled reader still has its stream")


async def test_a_session_over_tls_has_a_cookie_for_tls_alone(secured: Secured) -> None:
    served, pair = await secured(tokens=(TOKEN,))
    async with served.client.post("/session", json={"token": TOKEN}, ssl=pair.trusting()) as response:
        said = response.headers["Set-Cookie"]
    assert said.startswith(f"{SAFE_COOKIE}=")
    assert said.endswith("; Secure")
    for origin, status in ((f"https://127.0.0.1:{served.port}", 200), (f"http://127.0.0.1:{served.port}", 403)):
        headers = {"Cookie": said.partition(";")[0], "Origin": origin}
        async with served.client.post("/workflows/echo/run", headers=headers, ssl=pair.trusting()) as response:
            assert response.status == status


async def test_half_a_handshake_does_not_hold_up_others(secured: Secured) -> None:
    served, pair = await secured()
    with socket.create_connection(("127.0.0.1", served.port)) as silent, socket.socket() as wrong:
        silent.sendall(b"\x16\x03\x01")
        wrong.connect(("127.0.0.1", served.port))
        wrong.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        async with served.client.get("/health", ssl=pair.trusting()) as response:
            assert response.status == 200


async def test_connections_count_before_their_handshake(secured: Secured) -> None:
    served, pair = await secured(max_connections=5)
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
    try:
        with socket.create_connection(("127.0.0.1", served.port)) as dropped:
            dropped.settimeout(5)
            assert await asyncio.to_thread(dropped.recv, 1) == b""
        for one in silent[:2]:
            # What was no handshake gives its place back at once, and so does a client that leaves.
            one.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        silent.pop().close()

        async def has_room() -> bool:
            try:
                async with served.client.get("/health", ssl=pair.trusting()) as response:
                    return response.status == 200
            except ClientError:
                return False

        await until_seen(has_room, "handshakes that have failed hold their places")
    finally:
        for one in silent:
            one.close()


def test_a_key_with_a_password_is_refused_without_a_prompt(tmp_path: Path) -> None:
    pair = certificate(tmp_path, "server")
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-in", str(pair.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(CertificateError, match="without a password"):
        Certificate(str(pair.cert), str(locked))
    assert Certificate(str(pair.cert), str(pair.key)).context.minimum_version == ssl.TLSVersion.TLSv1_2
