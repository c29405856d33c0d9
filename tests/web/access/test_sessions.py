"""Sessions of browsers: their cookie, their end, and pages that must not use them."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.web.conftest import Serve, Served
from workflow_server.web.access.authentication import COOKIE, SAFE_COOKIE
from workflow_server.web.access.sessions import LIFETIME, MOST_OF_A_TOKEN, Sessions
from workflow_server.web.access.token_file import add_token, digest_of, revoke_token
from workflow_server.web.access.tokens import Tokens

TOKEN = "a-token-that-may-do-all"
READ_TOKEN = "a-token-that-may-only-read"
HTTPS = {"X-Forwarded-Proto": "https"}


async def begun(served: Served, token: str = TOKEN, headers: dict[str, str] | None = None) -> tuple[str, str]:
    """The cookie as it is sent back, and all that was said of it."""
    async with served.client.post("/session", json={"token": token}, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert token not in await response.text()
        said = response.headers["Set-Cookie"]
    served.client.cookie_jar.clear()
    return said.partition(";")[0], said


@pytest.fixture
async def guarded(serve: Serve) -> Served:
    return await serve(tokens=(TOKEN,), read_tokens=(READ_TOKEN,))


async def test_a_session_stands_for_its_token_until_it_is_ended(guarded: Served) -> None:
    cookie, said = await begun(guarded)
    assert said.endswith(f"; Path=/; Max-Age={LIFETIME}; HttpOnly; SameSite=Strict")
    assert TOKEN not in said
    status, answer = await guarded.get("/session", headers={"Cookie": cookie})
    assert (status, answer["name"], answer["role"]) == (200, "write 0", "full")
    assert answer["expires_at"] is not None
    assert (await guarded.post("/workflows/echo/run", headers={"Cookie": f"other=1; {cookie}"}))[0] == 200
    async with guarded.client.delete("/session", headers={"Cookie": cookie}) as response:
        assert (response.status, "Max-Age=0" in response.headers["Set-Cookie"]) == (200, True)
    for path in ("/session", "/workflows"):
        async with guarded.client.get(path, headers={"Cookie": cookie}) as response:
            assert (response.status, response.headers["WWW-Authenticate"][:6]) == (401, "Bearer")


async def test_a_session_has_the_role_of_its_token(guarded: Served) -> None:
    cookie, _ = await begun(guarded, READ_TOKEN)
    assert (await guarded.get("/session", headers={"Cookie": cookie}))[1]["role"] == "read"
    assert (await guarded.post("/workflows/echo/run", headers={"Cookie": cookie}))[0] == 403


async def test_a_reader_of_server_sent_events_needs_the_cookie_alone(guarded: Served) -> None:
    cookie, _ = await begun(guarded)
    _, handler = await guarded.post("/workflows/count/run", headers={"Cookie": cookie})
    headers = {"Cookie": cookie, "Accept": "text/event-stream", "Sec-Fetch-Site": "same-origin"}
    async with guarded.client.get(f"/events/{handler['handler_id']}", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert "CountedAll" in await response.text()


async def test_under_https_only_a_cookie_of_this_host_counts(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,), trusted_proxies=("127.0.0.1",))
    cookie, said = await begun(served, headers=HTTPS)
    assert said.startswith(f"{SAFE_COOKIE}=")
    assert said.endswith("; HttpOnly; SameSite=Strict; Secure")
    assert (await served.get("/session", headers={**HTTPS, "Cookie": cookie}))[0] == 200
    planted = f"{COOKIE}={cookie.partition('=')[2]}"
    assert (await served.get("/session", headers={**HTTPS, "Cookie": planted}))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "https://app.example.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_origin_cannot_use_the_cookie(serve: Serve, headers: dict[str, str]) -> None:
    served = await serve(tokens=(TOKEN,), cors_origins=("https://app.example.org",))
    cookie, _ = await begun(served)
    for path in ("/workflows/echo/run-nowait", "/bulk/cancel?status=running&running=true"):
        assert (await served.post(path, headers={"Cookie": cookie, **headers}))[0] == 403
    # A queue gives events to one reader: a GET can do harm, too.
    assert (await served.get("/events/x?acquire_timeout=1", headers={"Cookie": cookie, **headers}))[0] == 403
    _, found = await served.get("/handlers", headers={"Cookie": cookie})
    assert found == {"handlers": []}


async def test_of_two_cookies_that_differ_none_is_believed(guarded: Served) -> None:
    first, _ = await begun(guarded)
    second, _ = await begun(guarded, READ_TOKEN)
    head = b"GET /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for lines, status in (
        (f"Cookie: {first}; {second}\r\n", b"400"),
        (f"Cookie: {first}\r\nCookie: {second}\r\n", b"400"),
        (f"Cookie: {first}; {first}\r\n", b"200"),
        (f"Cookie: {COOKIE}; x\r\n", b"401"),
        (f"Cookie: {COOKIE}=\r\n", b"401"),
        (f"Cookie: x{first}\r\n", b"401"),
        (f"Cookie: {COOKIE}={'x' * 8_000}\r\n", b"401"),
        (f"Cookie: {COOKIE}={TOKEN}\r\n", b"401"),
    ):
        assert (await guarded.raw(head + lines.encode() + b"\r\n")).split()[1] == status, lines


async def test_a_header_goes_before_a_cookie(guarded: Served) -> None:
    cookie, _ = await begun(guarded)
    headers = {"Cookie": cookie, "Authorization": f"Bearer {READ_TOKEN}"}
    assert (await guarded.get("/session", headers=headers))[1]["role"] == "read"
    assert (await guarded.get("/session", headers={"Cookie": cookie, "Authorization": "Bearer wrong"}))[0] == 401
    # Another scheme is for a proxy before this server.
    assert (await guarded.get("/session", headers={"Cookie": cookie, "Authorization": "Basic x"}))[0] == 200
    twice = f"Authorization: Bearer {TOKEN}\r\n" * 2
    answer = await guarded.raw(f"GET /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{twice}\r\n".encode())
    assert answer.split()[1] == b"400"


@pytest.mark.parametrize("body", [{"token": "x" * 1_001}, {"token": 7}, {"tokens": TOKEN}, [], {"token": ["x"]}])
async def test_a_body_that_is_not_valid_is_400_and_not_quoted(guarded: Served, body: object) -> None:
    status, answer = await guarded.post("/session", json=body)
    assert status == 400
    assert TOKEN not in answer["detail"]


@pytest.mark.parametrize("head", ["Content-Length: 8193", "Transfer-Encoding: chunked"])
async def test_a_client_without_a_token_sends_little(guarded: Served, head: str) -> None:
    chunk = f"{9_000:x}\r\n{' ' * 9_000}\r\n" if "chunked" in head else ""
    answer = await guarded.raw(
        "POST /session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"{head}\r\n\r\n{chunk}".encode()
    )
    assert answer.split()[1] == b"413"
    assert b"8192 bytes" in answer


async def test_a_token_is_taken_from_body_or_header_never_from_the_url(guarded: Served) -> None:
    for path in (f"/session?token={TOKEN}", "/session"):
        assert (await guarded.post(path))[0] == 401
        assert (await guarded.post(path, headers={"Authorization": "Basic x"}))[0] == 401
        assert (await guarded.post(path, headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 200
        guarded.client.cookie_jar.clear()
    assert (await guarded.get(f"/workflows?token={TOKEN}&access_token={TOKEN}"))[0] == 401


async def test_without_tokens_no_session_is_needed(served: Served) -> None:
    assert await served.get("/session") == (200, {"name": None, "role": "full", "expires_at": None})
    status, answer = await served.post("/session", json={"token": TOKEN})
    assert (status, "no tokens" in answer["detail"]) == (400, True)


def test_a_session_ends_with_its_token_its_time_and_by_number(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    now = [1_000_000.0]
    team = add_token(file, "team", "run")
    tokens = Tokens((SecretStr(TOKEN),), (), str(file))
    sessions = Sessions(tokens, clock=lambda: now[0])
    held = tokens.find(team.encode())
    other = tokens.find(TOKEN.encode())
    assert held is not None
    assert other is not None

    kept, _ = sessions.begin(other)
    opened = [digest_of(sessions.begin(held)[0].encode()) for _ in range(MOST_OF_A_TOKEN + 5)]
    assert [sessions.find(digest) is None for digest in opened] == [True] * 5 + [False] * MOST_OF_A_TOKEN
    assert len(sessions) == MOST_OF_A_TOKEN + 1
    revoke_token(file, "team")
    tokens.load()
    assert not any(map(sessions.find, opened))
    assert len(sessions) == 1
    now[0] += LIFETIME - 1
    assert sessions.find(digest_of(kept.encode())) is not None
    now[0] += 1
    assert sessions.find(digest_of(kept.encode())) is None
    assert len(sessions) == 0


def test_sessions_of_revoked_tokens_take_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    add_token(file, "another", "read")
    tokens = Tokens((SecretStr(TOKEN),), (), str(file))
    sessions = Sessions(tokens)
    for _ in range(5):
        secret = add_token(file, "team", "read")
        tokens.load()
        held = tokens.find(secret.encode())
        assert held is not None
        sessions.begin(held)
        revoke_token(file, "team")
        tokens.load()
    other = tokens.find(TOKEN.encode())
    assert other is not None
    sessions.begin(other)
    assert len(sessions) == 1


def test_a_session_ends_when_its_token_expires(tmp_path: Path) -> None:
    now = [time.time()]
    secret = add_token(tmp_path / "tokens", "team", "read", timedelta(hours=1))
    tokens = Tokens(file=str(tmp_path / "tokens"))
    sessions = Sessions(tokens, clock=lambda: now[0])
    held = tokens.find(secret.encode())
    assert held is not None
    digest = digest_of(sessions.begin(held)[0].encode())
    assert sessions.find(digest) is not None
    now[0] += 3_700
    assert sessions.find(digest) is None
