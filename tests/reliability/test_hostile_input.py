"""P11, P10: whatever is sent, it is answered as the contract says or not at all, changes nothing, and harms nobody."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import count
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.reliability import half_open
from tests.reliability.besieged import SIGNS, TARGET, TOKEN, Besiege, Besieged, besiege
from tests.reliability.contract_fuzzing import ContractFuzzer
from tests.reliability.hostility import Hostile, corpus
from tests.reliability.raw_http import Answer, exchange
from tests.reliability.reporting import Extent, Survived
from tests.reliability.verdict import FOLLOW_UP, verdict

__all__ = ["besiege"]

AT_ONCE = 100

CHECKS = {
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
}
"""Of schemathesis; each has to be made."""


class Bombardment:
    """Sends hostile requests, a few at a time, and looks after each whether the server still serves."""

    def __init__(self, server: Besieged) -> None:
        self._server = server
        self._room = asyncio.Semaphore(AT_ONCE)
        self.answers: list[Answer] = []
        self.problems: list[str] = []

    async def send(self, requests: Iterable[Hostile]) -> None:
        """All of them."""
        async with asyncio.TaskGroup() as group:
            for number, hostile in enumerate(requests):
                group.create_task(self._send(hostile), name=f"hostile request {number}")

    async def _send(self, hostile: Hostile) -> None:
        pieces = [self._server.aimed(piece) for piece in hostile.pieces]
        if hostile.follow_up:
            pieces[-1] += FOLLOW_UP
        async with self._room:
            try:
                received = await exchange(self._server.port, pieces, patience=1.5 if hostile.silence else None)
            except TimeoutError:
                self.problems.append(f"{hostile.name}: the connection stays open")
                return
            async with self._server.session.get("/health") as response:
                if response.status != 200:
                    self.problems.append(f"{hostile.name}: unhealthy afterwards")
        problem, answers = verdict(hostile, received)
        self.answers += answers
        if problem is not None:
            self.problems.append(f"{hostile.name}: {problem}")

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        return Counter(answer.status for answer in self.answers)

    @property
    def acknowledged(self) -> set[str]:
        """The handlers that were answered with 200."""
        bodies = [answer.body for answer in self.answers if answer.status == 200 and b'"handler_id"' in answer.body]
        return {json.loads(body)["handler_id"] for body in bodies if body.startswith(b'{"handler_id"')}


@pytest.mark.slow
async def test_hostile_requests_are_refused_as_the_contract_says_and_change_nothing(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege("--body-timeout", "2", "--log-level", "debug")
    before = await server.handlers()
    bombardment = Bombardment(server)
    requests = corpus(extent.seed, mutations=extent.of(short=200, long=10_000))
    await bombardment.send(requests)
    assert bombardment.problems == []
    after = await server.handlers()
    # A mutation may have stayed an honest start: what was acknowledged is there, and nothing else.
    assert after.keys() == before.keys() | bombardment.acknowledged
    assert {handler["workflow_name"] for handler in after.values()} == {"approve", "count"}
    assert after[server.ended] == before[server.ended]
    assert after[server.waiting] == before[server.waiting]
    assert await server.decided() == {"approved": True, "reason": "honest"}
    assert server.signs() == Counter()
    refused = {status: count for status, count in sorted(bombardment.statuses.items()) if status >= 400}
    assert {400, 403, 404, 405, 408, 409, 413, 415, 417} <= refused.keys()
    survived(
        "raw hostile requests: broken, half-sent, oversized, smuggled, compressed, deep, mistyped, foreign",
        "P10 P11",
        times=len(requests),
        unit="requests",
        figures=", ".join(f"{count}x {status}" for status, count in refused.items()),
    )


@pytest.mark.slow
async def test_hostile_requests_without_a_token_get_no_further_than_401(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege("--body-timeout", "2", "--log-level", "debug", guarded=True)
    before = await server.handlers()
    bombardment = Bombardment(server)
    requests = corpus(extent.seed + 1, mutations=extent.of(short=200, long=10_000))
    # Who is not known is refused earlier than with what the contract says of the request.
    unknown = [
        hostile._replace(wanted=frozenset({400, 401, 403, 417}) | (hostile.wanted & {200})) for hostile in requests
    ]
    await bombardment.send(unknown)
    assert bombardment.problems == []
    answered = [answer for answer in bombardment.answers if answer.status < 400]
    assert {answer.body for answer in answered} == {b'{"status":"healthy"}'}
    assert await server.handlers() == before
    assert await server.decided() == {"approved": True, "reason": "honest"}
    assert server.signs() == Counter()
    survived(
        "the same requests without a token",
        "P11",
        times=len(requests),
        unit="requests",
        figures=f"{bombardment.statuses[401]} met 401, no other 2xx than that of GET /health",
    )


# -- Half-open connections -------------------------------------------------------------------------


@pytest.mark.slow
async def test_half_open_connections_are_closed_within_20_s_and_slow_nobody_down(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege()
    clients = list(half_open.half_open(extent.of(short=100, long=500)))
    over = asyncio.Event()
    load = [asyncio.create_task(half_open.latencies(lambda: _honest_calls(server), over)) for _ in range(2)]
    hanging = [asyncio.create_task(half_open.cut_off(server.port, client)) for client in clients]
    # Once the slowest of them has connected, and before the first is cut off.
    await asyncio.sleep(4)
    open_sockets = _sockets(server.process.process.pid)
    ended = await asyncio.gather(*hanging)
    over.set()
    taken = [seconds for worker in load for seconds in await worker]
    late = [(client.kind, seconds) for client, seconds in zip(clients, ended, strict=True) if seconds > 20]
    assert late == []
    # All but those that are no HTTP, which are refused at once, hung at the same time.
    assert open_sockets >= len(clients) * 4 // 5
    assert half_open.percentile(taken, 0.99) < 0.2
    assert server.signs() == Counter()
    survived(
        "half-open connections: silent, half a line, head, body or chunk, TLS, byte by byte",
        "P10",
        times=len(clients),
        unit="connections",
        figures=f"all closed after {max(ended):.1f} s at most; meanwhile {len(taken)} requests, "
        f"p99 {half_open.percentile(taken, 0.99) * 1000:.0f} ms",
    )


async def _honest_calls(server: Besieged) -> AsyncIterator[None]:
    for number in count():
        if number % 4 == 0:
            await server.call("POST", "/workflows/count/run-nowait", {"start_event": {"n": 1}})
        else:
            await server.call("GET", f"/handlers/{server.ended}")
        yield


def _sockets(pid: int) -> int:
    """How many sockets a process has open."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return sum(descriptor.readlink().name.startswith("socket:") for descriptor in descriptors)


# -- The description -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True], ids=["open", "guarded"])
def test_what_the_description_makes_schemathesis_send_is_answered_as_described(
    start_server: StartServer, extent: Extent, survived: Survived, guarded: bool
) -> None:
    environment = {"WORKFLOW_SERVER_TOKENS": TOKEN} if guarded else None
    process = start_server(f"{TARGET}:impatient", env=environment)
    token = TOKEN if guarded else None
    # The drawn half reaches what is not there, the aimed half what lies behind it.
    halves = [
        ContractFuzzer(
            process.url, seed=extent.seed, examples=extent.of(short=2, long=80), aimed=aimed, token=token
        ).run()
        for aimed in ((False, True) if extent.long else (guarded,))
    ]
    assert [problem for half in halves for problem in half.problems] == []
    cases: Counter[str] = sum((half.cases for half in halves), Counter())
    checks: Counter[str] = sum((half.checks for half in halves), Counter())
    reached = set().union(*(half.reached("POST /workflows/{name}/run-nowait") for half in halves))
    assert {200, 400, 415} <= reached
    assert checks.keys() >= CHECKS
    assert cases["stateful_testing"] > 0
    log = process.log.read_text()
    assert not any(sign in log for sign in SIGNS)
    survived(
        f"schemathesis over /openapi.json, all checks{', with and without a token' if guarded else ''}",
        "P11",
        times=cases.total(),
        unit="cases",
        figures=f"{checks.total()} checks; " + ", ".join(f"{count} {phase}" for phase, count in cases.items() if count),
    )
