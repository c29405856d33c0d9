"""Access control: requests that are let through, and requests that are refused."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from tests.web.conftest import Serve, Served
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.web.routes.table import ROUTES
from workflow_server.web.state import WebSettings

TOKEN = "a-token-that-may-do-all"
READ_TOKEN = "a-token-that-may-only-read"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# -- Host ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.9.9.9",
        "[::1]",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]",
        "runs.example.org",
        "Runs.Example.org:443",
        "[2001:db8::7]:1",
        "[2001:0db8:0::7]",
    ],
)
async def test_names_of_this_machine_and_allowed_ones_are_served(serve: Serve, host: str) -> None:
    served = await serve(allowed_hosts=("runs.example.org", "2001:db8::7"))
    assert (await served.get("/health", headers={"Host": host}))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "localhost.evil.example.org",
        "evil-localhost",
        "127.0.0.1.evil.example.org",
        "10.1.2.3",
        "[2001:db8::1]:8080",
        "0.0.0.0",
    ],
)
async def test_a_name_that_is_not_ours_is_403_on_every_path(served: Served, host: str) -> None:
    for path in ("/health", "/", "/nothing", "/handlers"):
        status, answer = await served.get(path, headers={"Host": host})
        assert status == 403
        assert "allowed_hosts" in answer["detail"]


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Host:\r\n",
        b"Host: user@localhost\r\n",
        b"Host: localhost:port\r\n",
        b"Host: local host\r\n",
        b"Host: ::1\r\n",
        b"Host: localhost\r\nHost: localhost\r\n",
    ],
)
async def test_a_missing_or_malformed_host_is_400(served: Served, lines: bytes) -> None:
    answer = await served.raw(b"GET /health HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
    assert answer.split()[1] == b"400"


async def test_an_absolute_target_is_of_a_host_of_ours_too(served: Served) -> None:
    head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for target in (b"http://localhost/health", b"http://[::1]:80/health", b"http://LOCALHOST:8080/health"):
        assert (await served.raw(b"GET " + target + head)).split()[1] == b"200"
    for target in (b"http://evil.example.org/health", b"http://localhost@evil.example.org/health", b"file:///health"):
        assert (await served.raw(b"GET " + target + head)).split()[1] in (b"400", b"403")


# -- Origin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", ["http://{host}", "https://{host}", "HTTP://{host}"])
async def test_a_page_of_this_server_may_call_it(served: Served, origin: str) -> None:
    headers = {"Origin": origin.format(host=f"127.0.0.1:{served.port}")}
    assert (await served.post("/workflows/echo/run", headers=headers))[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "null", "http://127.0.0.1:1", "http://localhost", "file://", "http://[", ""]
)
async def test_a_foreign_origin_is_403_and_starts_nothing(served: Served, origin: str) -> None:
    status, answer = await served.post("/workflows/echo/run-nowait", headers={"Origin": origin})
    assert status == 403
    assert "cors_origins" in answer["detail"]
    assert await served.get("/handlers") == (200, {"handlers": []})


async def test_without_configured_origins_no_answer_has_a_cors_header(served: Served) -> None:
    headers = {"Origin": f"http://127.0.0.1:{served.port}"}
    async with served.client.get("/workflows", headers=headers) as response:
        assert not [name for name in response.headers if name.startswith("Access-Control")]


async def test_a_configured_origin_is_named_and_without_credentials(
    serve: Serve,
) -> None:
    origin = "https://app.example.org"
    served = await serve(cors_origins=(origin,))
    handler_id = await served.finish("count")
    for path in ("/workflows", "/nothing", f"/events/{handler_id}?after_sequence=-1"):
        async with served.client.get(path, headers={"Origin": origin}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert response.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in response.headers


async def test_an_origin_that_only_resembles_a_configured_one_is_403(serve: Serve) -> None:
    served = await serve(cors_origins=("https://app.example.org",))
    for origin in ("https://app.example.org.evil.org", "http://app.example.org", "https://app.example.org:444"):
        async with served.client.get("/workflows", headers={"Origin": origin}) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
            assert response.headers["Vary"] == "Origin"


async def test_a_preflight_needs_no_token_but_a_configured_origin(serve: Serve) -> None:
    served = await serve(cors_origins=("https://app.example.org",), tokens=(TOKEN,))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    path = "/workflows/echo/run"
    async with served.client.options(path, headers={"Origin": "https://app.example.org", **asked}) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
        methods = {"HEAD"} | {route.method for route in ROUTES}
        assert set(response.headers["Access-Control-Allow-Methods"].split(", ")) == methods
        for name in ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Traceparent", "Tracestate"):
            assert name in response.headers["Access-Control-Allow-Headers"]
    async with served.client.options(path, headers={"Origin": "https://evil.example.org", **asked}) as response:
        assert response.status == 403


# -- Tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        bearer("ä" * 20),
    ],
)
async def test_without_a_right_token_every_path_but_health_is_401(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,))
    for path in ("/", "/workflows", "/handlers", "/events/x", "/openapi.json", "/nothing"):
        async with served.client.get(path, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert "Bearer" in (await response.json())["detail"]
    async with served.client.get("/health", headers=headers) as response:
        assert response.status == 200


async def test_a_token_may_do_everything(serve: Serve) -> None:
    served = await serve(tokens=("another-token-for-all", TOKEN), read_tokens=(READ_TOKEN,))
    assert (await served.post("/workflows/echo/run", headers=bearer(TOKEN)))[0] == 200
    assert (await served.get("/handlers", headers={"Authorization": f"bearer {TOKEN}"}))[0] == 200


async def test_a_read_only_token_may_only_read(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,))
    assert await served.get("/handlers", headers=bearer(READ_TOKEN)) == (200, {"handlers": []})
    async with served.client.head("/handlers", headers=bearer(READ_TOKEN)) as response:
        assert response.status == 200
    for path in ("/workflows/echo/run", "/workflows/echo/run-nowait", "/events/x", "/handlers/x/cancel"):
        status, answer = await served.post(path, headers=bearer(READ_TOKEN))
        assert status == 403
        assert "read" in answer["detail"]
    assert await served.get("/handlers", headers=bearer(TOKEN)) == (200, {"handlers": []})


async def test_a_read_only_token_takes_no_events_from_others(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,))
    async with served.client.post("/workflows/count/run", headers=bearer(TOKEN)) as response:
        path = f"/events/{(await response.json())['handler_id']}"
    status, answer = await served.get(f"{path}?acquire_timeout=1", headers=bearer(READ_TOKEN))
    assert status == 403
    assert "after_sequence" in answer["detail"]
    async with served.client.get(f"{path}?after_sequence=-1&sse=false", headers=bearer(READ_TOKEN)) as response:
        own = await response.text()
    async with served.client.get(f"{path}?acquire_timeout=1&sse=false", headers=bearer(TOKEN)) as response:
        assert await response.text() == own != ""


async def test_one_token_of_several_holds_half_of_the_streams(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,), max_streams=4)
    async with served.client.post("/workflows/ask/run-nowait", headers=bearer(TOKEN)) as response:
        path = f"/events/{(await response.json())['handler_id']}?after_sequence=-1"
    async with AsyncExitStack() as stack:
        for _ in range(2):
            answer = await stack.enter_async_context(served.client.get(path, headers=bearer(READ_TOKEN)))
            assert answer.status == 200
        for other in (path, "/handlers"):
            async with served.client.get(other, headers=bearer(READ_TOKEN)) as refused:
                # Looked at first: a stream that is not refused has no end.
                assert refused.status == 429
                assert "this token" in (await refused.json())["detail"]
        answer = await stack.enter_async_context(served.client.get(path, headers=bearer(TOKEN)))
        assert answer.status == 200
        assert (await served.get("/handlers", headers=bearer(TOKEN)))[0] == 200


def test_a_lone_token_may_hold_every_stream() -> None:
    assert WebSettings(max_streams=7).streams_of_a_token(1) == 7
    assert WebSettings(max_streams=7).streams_of_a_token(0) == 7
    assert WebSettings(max_streams=1).streams_of_a_token(2) == 1
    assert WebSettings(max_streams=7, max_streams_per_token=5).streams_of_a_token(1) == 5
    assert WebSettings(max_streams=7, max_streams_per_token=9).streams_of_a_token(2) == 7


async def test_of_a_mounted_application_only_health_needs_no_token(
    tmp_path: Path,
) -> None:
    server = WorkflowServer(settings=Settings(tokens=(SecretStr(TOKEN),), db=str(tmp_path / "db")))
    inner, outer = web.Application(), web.Application()
    inner.add_subapp("/flows", server.app)
    outer.add_subapp("/v1", inner)
    async with TestClient(TestServer(outer)) as client:
        assert (await client.get("/v1/flows/health")).status == 200
        assert (await client.head("/v1/flows/health")).status == 200
        for path in ("workflows", "handlers", "health/x", ""):
            assert (await client.get(f"/v1/flows/{path}")).status in (401, 404)
        assert (await client.get("/v1/flows/workflows", headers=bearer(TOKEN))).status == 200


# -- All answers -----------------------------------------------------------------------------------


async def test_no_answer_is_guessed_at_cached_or_names_a_version(served: Served) -> None:
    handler_id = await served.finish("count")
    stream = f"/events/{handler_id}?after_sequence=-1"
    for path in ("/", "/workflows", "/handlers", "/openapi.json", "/health", "/nothing", "/events/x", stream):
        for method in ("GET", "HEAD", "DELETE"):
            async with served.client.request(method, path) as response:
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Server"] == "workflow_server"
                kept = "no-cache, no-transform" if path == stream and response.status == 200 else "no-store"
                assert response.headers["Cache-Control"] == kept
    for request in (
        b"nonsense\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: y\r\n\r\n",
    ):
        head = (await served.raw(request)).partition(b"\r\n\r\n")[0].decode()
        assert head.split()[1] in ("400", "417")
        assert "Server: workflow_server\r\n" in head + "\r\n"
        assert "Cache-Control: no-store\r\n" in head + "\r\n"
        assert "aiohttp" not in head
