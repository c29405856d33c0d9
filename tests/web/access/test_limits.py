"""Limits on clients: wrong tokens and requests, and the memory that they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web.conftest import Serve
from workflow_server.web.access.limits import MOST_CLIENTS, WINDOW, RequestRate, WrongTokens, network_of
from workflow_server.web.access.token_file import add_token
from workflow_server.web.exceptions import TooManyRequests, TooManyWrongTokens

CHOSEN = "a-token-that-somebody-chose"
PROXY = {"trusted_proxies": ("127.0.0.1",)}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def sent(token: str, client: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Forwarded-For": client}


def is_refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except TooManyWrongTokens:
        return True
    return False


async def test_wrong_tokens_are_429_for_their_own_client_alone(serve: Serve) -> None:
    served = await serve(tokens=(CHOSEN,), max_wrong_tokens=3, **PROXY)
    for number in range(5):
        async with served.client.get("/workflows", headers=sent(f"wrong-{number}", "203.0.113.1")) as response:
            assert response.status == (401 if number < 3 else 429)
            if response.status == 429:
                assert 1 <= int(response.headers["Retry-After"]) <= WINDOW
                assert "wrong-" not in await response.text()
    # The right one is not tried there any more: it may be a guess.
    assert (await served.get("/workflows", headers=sent(CHOSEN, "203.0.113.1")))[0] == 429
    assert (await served.get("/workflows", headers=sent(CHOSEN, "203.0.113.2")))[0] == 200
    assert (await served.get("/workflows", headers={"X-Forwarded-For": "203.0.113.1"}))[0] == 401
    assert (await served.get("/health", headers=sent("wrong", "203.0.113.1")))[0] == 200


async def test_a_neighbours_wrong_tokens_refuse_no_right_one(serve: Serve, tmp_path: Path) -> None:
    generated = add_token(tmp_path / "tokens", "team", "read")
    served = await serve(tokens=(CHOSEN,), token_file=str(tmp_path / "tokens"), max_wrong_tokens=2)
    assert (await served.get("/workflows", headers=sent(CHOSEN, "")))[0] == 200
    for number in range(4):
        await served.get("/workflows", headers=sent(f"wrong-{number}", ""))
    assert (await served.get("/workflows", headers=sent("wrong", "")))[0] == 429
    # One was right at this address before, and the other cannot be guessed.
    assert (await served.get("/workflows", headers=sent(CHOSEN, "")))[0] == 200
    assert (await served.get("/workflows", headers=sent(generated, "")))[0] == 200


async def test_a_request_without_a_token_is_not_a_wrong_one(serve: Serve) -> None:
    served = await serve(tokens=(CHOSEN,), max_wrong_tokens=1)
    for authorization in ("Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "", CHOSEN):
        assert (await served.get("/workflows", headers={"Authorization": authorization}))[0] == 401
    assert (await served.get("/workflows", headers=sent(CHOSEN, "")))[0] == 200


async def test_a_token_in_a_session_counts_as_well(serve: Serve) -> None:
    served = await serve(tokens=(CHOSEN,), max_wrong_tokens=2)
    statuses = [(await served.post("/session", json={"token": f"wrong-{n}"}))[0] for n in range(4)]
    assert statuses == [401, 401, 429, 429]


def test_the_window_ends_and_attempts_begin_afresh() -> None:
    clock = Clock()
    wrong = WrongTokens(2, clock=clock)
    wrong.add("a")
    clock.now += 10
    wrong.add("a")
    with pytest.raises(TooManyWrongTokens) as refused:
        wrong.add("a")
    assert refused.value.seconds == WINDOW - 10
    clock.now += WINDOW - 10
    assert [is_refused(lambda: wrong.add("a")) for _ in range(3)] == [False, False, True]


def test_wrong_tokens_from_everywhere_take_bounded_memory() -> None:
    wrong = WrongTokens(2)
    for number in range(3 * MOST_CLIENTS):
        wrong.add(network_of(f"2001:db8:{number // 60_000:x}:{number % 60_000:x}::1"))
        assert wrong.is_tried("somewhere", number.to_bytes(32, "big"))
    assert len(wrong) <= 2 * MOST_CLIENTS
    rate = RequestRate(1)
    for number in range(3 * MOST_CLIENTS):
        rate.take(str(number))
    assert len(rate) <= MOST_CLIENTS


def test_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of(None) == network_of("") == network_of("nonsense") == ""


def test_a_second_holds_its_requests_and_their_burst() -> None:
    clock = Clock()
    rate = RequestRate(4, clock=clock)

    def passed(number: int) -> int:
        count = 0
        for _ in range(number):
            try:
                rate.take("a")
            except TooManyRequests:
                continue
            count += 1
        return count

    assert passed(10) == 4
    rate.take("b")
    clock.now += 0.5
    assert passed(10) == 2
    clock.now += 100
    assert passed(10) == 4


async def test_requests_above_the_rate_are_429_by_token(serve: Serve, tmp_path: Path) -> None:
    first, second = (add_token(tmp_path / "tokens", name, "read") for name in ("a", "b"))
    served = await serve(token_file=str(tmp_path / "tokens"), max_requests_per_second=1)
    assert (await served.get("/workflows", headers=sent(first, "")))[0] == 200
    async with served.client.get("/workflows", headers=sent(first, "")) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert (await served.get("/workflows", headers=sent(second, "")))[0] == 200
    for _ in range(5):
        assert (await served.get("/health"))[0] == 200
        assert (await served.get("/workflows"))[0] == 401


async def test_the_beginning_of_a_session_is_a_request_of_its_token(serve: Serve, tmp_path: Path) -> None:
    token = add_token(tmp_path / "tokens", "a", "read")
    served = await serve(token_file=str(tmp_path / "tokens"), max_requests_per_second=1)
    assert [(await served.post("/session", json={"token": token}))[0] for _ in range(3)] == [200, 429, 429]
    assert (await served.get("/workflows", headers=sent(token, "")))[0] == 429


async def test_without_tokens_the_rate_is_of_an_address(serve: Serve) -> None:
    served = await serve(max_requests_per_second=1, **PROXY)
    assert (await served.get("/workflows", headers={"X-Forwarded-For": "203.0.113.1"}))[0] == 200
    assert (await served.get("/workflows", headers={"X-Forwarded-For": "203.0.113.1"}))[0] == 429
    assert (await served.get("/workflows", headers={"X-Forwarded-For": "203.0.113.2"}))[0] == 200
