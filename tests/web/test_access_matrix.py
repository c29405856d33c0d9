"""The matrix of tokens, roles, hosts, origins and proxies, over every route of the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.web.conftest import Serve, Served
from workflow_server.web.access.token_file import add_token
from workflow_server.web.roles import ROLES, Role
from workflow_server.web.routes.route import Response, Route
from workflow_server.web.routes.server import index
from workflow_server.web.routes.table import ROUTES

ROLES_NEEDED: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): None,
    ("GET", "/ready"): None,
    ("GET", "/metrics"): "read",
    ("GET", "/server"): "read",
    ("GET", "/workflows"): "read",
    ("GET", "/workflows/{name}/events"): "read",
    ("GET", "/workflows/{name}/schema"): "read",
    ("GET", "/workflows/{name}/representation"): "read",
    ("GET", "/workflows/{name}/stats"): "read",
    ("POST", "/workflows/{name}/run"): "run",
    ("POST", "/workflows/{name}/run-nowait"): "run",
    ("GET", "/handlers"): "read",
    ("GET", "/handlers/stats"): "read",
    ("GET", "/handlers/stream"): "read",
    ("GET", "/handlers/{handler_id}"): "read",
    ("GET", "/handlers/{handler_id}/history"): "read",
    ("GET", "/handlers/{handler_id}/state"): "run",
    ("GET", "/results/{handler_id}"): "read",
    ("GET", "/events/{handler_id}"): "read",
    ("POST", "/events/{handler_id}"): "run",
    ("POST", "/bulk/cancel"): "full",
    ("POST", "/bulk/retry"): "full",
    ("POST", "/handlers/{handler_id}/retry"): "run",
    ("POST", "/handlers/{handler_id}/cancel"): "run",
    ("POST", "/session"): None,
    ("GET", "/session"): "read",
    ("DELETE", "/session"): None,
    ("GET", "/openapi.json"): "read",
    ("GET", "/"): "read",
}
"""The role that each route needs, as it is promised; None where it is open."""
SAY_SO = "a route comes or goes in web/routes/table.py and in ROLES_NEEDED of this test, with its role"

HOST = "flows.example.org"
PAGE = f"https://{HOST}"
OTHER_PAGE = "https://app.example.org"


class Place(NamedTuple):
    """The way on which a request comes, and whether it is let through."""

    headers: dict[str, str]
    is_through_proxy: bool
    is_accepted: bool


def places() -> list[Place]:
    """Every host with every origin, with and without a trusted proxy."""
    found = []
    for host in (HOST, "evil.example.org"):
        for origin in (None, PAGE, OTHER_PAGE, "https://evil.example.org", "null"):
            sent = {} if origin is None else {"Origin": origin}
            accepted = host == HOST and origin in (None, PAGE, OTHER_PAGE)
            found.append(Place({"Host": host, **sent}, False, accepted))
            # From anybody else, these headers change nothing.
            found.append(Place({"Host": host, "X-Forwarded-Host": HOST, **sent}, False, accepted))
            proxied = {"Host": "upstream", "X-Forwarded-Host": host, "X-Forwarded-Proto": "https", **sent}
            found.append(Place({**proxied, "X-Forwarded-For": "evil, 203.0.113.9"}, True, accepted))
            found.append(Place(proxied, False, False))
    return found


def request_of(route: Route) -> tuple[str, str]:
    # A stream without an end would be waited for: with this cursor, whoever may read it is refused with 400.
    query = "?cursor=nothing" if route.path == "/handlers/stream" else ""
    return route.method, re.sub(r"\{\w+\}", "nothing", route.path) + query


class Servers(NamedTuple):
    """A server that trusts this machine's proxies and one that does not, and their tokens."""

    trusting: Served
    other: Served
    tokens: Mapping[str, str]


@pytest.fixture
async def servers(serve: Serve, tmp_path: Path) -> Servers:
    file = tmp_path / "tokens.jsonl"
    tokens: dict[str, str] = {role: add_token(file, f"team-{role}", role) for role in ROLES}
    settings = {"token_file": str(file), "allowed_hosts": (HOST,), "cors_origins": (OTHER_PAGE,)}
    wrong = {"max_wrong_tokens": 1_000_000}
    return Servers(
        await serve(**settings, **wrong, trusted_proxies=("127.0.0.0/8",)), await serve(**settings, **wrong), tokens
    )


def expected(needed: Role | None, held: str | None, place: Place) -> int | None:
    """The status of a refusal; None where the request is let through."""
    if not place.is_accepted:
        return 403
    if needed is None:
        return None
    if held is None:
        return 401
    return None if ROLES.index(held) >= ROLES.index(needed) else 403


def test_every_route_has_the_role_that_is_promised() -> None:
    assert {(route.method, route.path): route.role for route in ROUTES} == ROLES_NEEDED, SAY_SO


def test_a_route_that_names_no_role_needs_the_largest() -> None:
    assert Route("GET", "/new", index, "New.", {200: Response("New.")}).role == "full"


@pytest.mark.parametrize("held", [None, "wrong", *ROLES])
async def test_each_token_at_each_route_from_each_place(servers: Servers, held: str | None) -> None:
    token = servers.tokens.get(held or "", "wfs_wrong")
    credentials = {} if held is None else {"Authorization": f"Bearer {token}"}
    for place in places():
        served = servers.trusting if place.is_through_proxy else servers.other
        for route in ROUTES:
            method, path = request_of(route)
            headers = {**place.headers, **credentials}
            async with served.client.request(method, path, headers=headers) as response:
                due = expected(ROLES_NEEDED[route.method, route.path], held if held in ROLES else None, place)
                if route.path == "/session" and route.method == "POST" and due is None and held not in ROLES:
                    due = 401
                said = await response.text()
                assert (response.status == due) if due else response.status not in (401, 403), (route, place, said)
                assert ("WWW-Authenticate" in response.headers) == (response.status == 401)
                if due == 403 and place.is_accepted:
                    assert f"'{ROLES_NEEDED[route.method, route.path]}'" in said
                assert token not in said


@pytest.mark.parametrize("held", ROLES)
async def test_each_session_at_each_route_from_each_place(servers: Servers, held: str) -> None:
    proxied = {"Host": "upstream", "X-Forwarded-Host": HOST, "X-Forwarded-Proto": "https"}
    body = {"token": servers.tokens[held]}
    async with servers.trusting.client.post("/session", headers=proxied, json=body) as response:
        assert response.status == 200
        cookie = response.headers["Set-Cookie"].partition(";")[0]
    for place in places():
        if not place.is_through_proxy:
            continue
        for route in ROUTES:
            method, path = request_of(route)
            if (method, path) == ("DELETE", "/session"):
                continue
            headers = {**place.headers, "Cookie": cookie}
            async with servers.trusting.client.request(method, path, headers=headers) as response:
                due = expected(ROLES_NEEDED[route.method, route.path], held, place)
                if place.headers.get("Origin") == OTHER_PAGE and route.role is not None:
                    # A page of another origin may send a token, but no cookie.
                    due = 403
                if (method, path) == ("POST", "/session"):
                    due = due or 401
                assert (response.status == due) if due else response.status not in (401, 403), (route, place)
