"""Trusted proxies: the client, the scheme and the host that their headers tell."""

from __future__ import annotations

import logging

import pytest

from tests.harness.waiting import until
from tests.web.conftest import Serve, Served
from tests.web.test_access_log import fields

NETWORKS = ("127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48")


async def told(served: Served, caplog: pytest.LogCaptureFixture, lines: bytes) -> tuple[int, str]:
    """The status of a request with these headers, and the client that the access log names."""
    caplog.set_level(logging.INFO, "workflow_server.access")
    caplog.clear()
    answer = await served.raw(b"GET /workflows HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines + b"\r\n")
    await until(lambda: len(fields(caplog)) == 1, "each request is logged when it is over")
    return int(answer.split()[1]), fields(caplog)[0]["remote"]


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (b"", "127.0.0.1"),
        (b"X-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1"),
        (b"x-forwarded-for: 203.0.113.1:4711\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: [2001:db8::7]:4711\r\n", "2001:db8::7"),
        (b"X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
        (b'X-Forwarded-For: "[2001:db8::7]"\r\n', "2001:db8::7"),
        (b"X-Forwarded-For: ::ffff:203.0.113.1\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: 198.51.100.1, 203.0.113.1\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: nonsense, 127.0.0.1, 203.0.113.1, 10.1.1.1\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 2001:db8:1::5, 10.0.0.9\r\n", "203.0.113.1"),
        (b"X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1"),
        (b"X_Forwarded_For: 203.0.113.1\r\n", "127.0.0.1"),
        (b"Forwarded: for=203.0.113.1\r\n", "127.0.0.1"),
        (b"X-Real-IP: 203.0.113.1\r\n", "127.0.0.1"),
    ],
)
async def test_the_client_is_the_right_most_untrusted_address(
    serve: Serve, caplog: pytest.LogCaptureFixture, lines: bytes, client: str
) -> None:
    served = await serve(trusted_proxies=NETWORKS, access_log=True)
    assert await told(served, caplog, lines) == (200, client)


async def test_from_anybody_else_the_headers_are_ignored(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    lines = b"X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil.example.org\r\n"
    for settings in ({}, {"trusted_proxies": ("10.0.0.0/8", "::1")}):
        served = await serve(access_log=True, **settings)
        assert await told(served, caplog, lines) == (200, "127.0.0.1")


@pytest.mark.parametrize(
    "lines",
    [
        b"X-Forwarded-For:\r\n",
        b"X-Forwarded-For: unknown\r\n",
        b"X-Forwarded-For: 203.0.113.1,\r\n",
        b"X-Forwarded-For: 203.0.113.1 198.51.100.1\r\n",
        b"X-Forwarded-For: 203.0.113.1, localhost\r\n",
        b"X-Forwarded-For: 256.1.1.1\r\n",
        b"X-Forwarded-For: \xff\xfe\r\n",
        b"X-Forwarded-For: nonsense, 10.0.0.1\r\n",
        b"X-Forwarded-Proto: gopher\r\n",
        b"X-Forwarded-Proto: https, \r\n",
        b"X-Forwarded-Proto:\r\n",
    ],
)
async def test_headers_of_a_proxy_that_make_no_sense_are_400(
    serve: Serve, caplog: pytest.LogCaptureFixture, lines: bytes
) -> None:
    served = await serve(trusted_proxies=NETWORKS, access_log=True)
    assert (await told(served, caplog, lines))[0] == 400


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (b"flows.example.org", 200),
        (b"FLOWS.example.org:443", 200),
        (b"evil.example.org, flows.example.org", 200),
        (b"flows.example.org, evil.example.org", 403),
        (b"evil.example.org", 403),
        (b"upstream", 403),
        (b"user@flows.example.org", 403),
        (b"", 403),
    ],
)
async def test_the_host_is_the_one_that_the_proxy_was_asked_for(serve: Serve, hosts: bytes, status: int) -> None:
    served = await serve(trusted_proxies=NETWORKS, allowed_hosts=("flows.example.org",))
    head = b"GET /workflows HTTP/1.1\r\nHost: upstream\r\nConnection: close\r\n"
    answer = await served.raw(head + b"X-Forwarded-Host: " + hosts + b"\r\n\r\n")
    assert int(answer.split()[1]) == status


async def test_a_page_is_of_this_server_by_scheme_and_host(serve: Serve) -> None:
    served = await serve(trusted_proxies=NETWORKS, allowed_hosts=("flows.example.org",))
    proxied = {"Host": "upstream", "X-Forwarded-Host": "flows.example.org", "X-Forwarded-Proto": "https"}
    for origin, status in (
        ("https://flows.example.org", 200),
        ("http://flows.example.org", 403),
        ("https://upstream", 403),
        ("https://flows.example.org:8443", 403),
    ):
        headers = {**proxied, "Origin": origin}
        assert (await served.post("/workflows/echo/run", headers=headers))[0] == status, origin
