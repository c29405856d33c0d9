"""P11, P10: whatever is sent, it is answered as the contract says or not at all, changes nothing, and harms nobody."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count

import pytest

from tests.conftest import StartServer
from tests.harness.waiting import until
from tests.reliability.hostility import corpus, half_open, request
from tests.reliability.hostility.besieged import READ_TOKEN, SIGNS, TARGET, TOKEN, Besiege, Besieged, besiege
from tests.reliability.hostility.bombardment import Bombardment
from tests.reliability.hostility.callers import all_callers, guess_of
from tests.reliability.hostility.contract_fuzzing import ContractFuzzer
from tests.reliability.hostility.raw_http import answers, exchange
from tests.reliability.hostility.request import Hostile
from tests.reliability.hostility.unread import is_dropped, open_unread, resident, sockets
from tests.reliability.reporting import Extent, Survived

__all__ = ["besiege"]

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

FAILED_AS_MEANT = re.compile(
    r"^\S+ \S+ ERROR workflow_server\.execution\.writer: Run \S+ of handler \S+ failed: "
    r"(ValueError: the step failed in step fail|Operation timed out after 0\.7 seconds)\n(  \| .*\n)*",
    re.MULTILINE,
)
"""The lines of the log about the runs of ``fail``, and about those of ``approve`` that nobody answers."""


@pytest.mark.slow
async def test_hostile_requests_are_refused_and_change_nothing(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege("--body-timeout", "0.5", "--log-level", "debug")
    before = await server.handlers()
    bombardment = Bombardment(server)
    requests = corpus(extent.seed, mutations=extent.of(short=200, long=10_000))
    await bombardment.send(requests)
    assert not bombardment.problems, "\n".join(bombardment.problems)
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
    server = await besiege("--body-timeout", "0.5", "--log-level", "debug", guarded=True)
    before = await server.handlers()
    bombardment = Bombardment(server)
    requests = corpus(extent.seed + 1, mutations=extent.of(short=200, long=10_000))
    # Who is not known is refused earlier than with what the contract says of the request.
    unknown = [
        hostile._replace(wanted=frozenset({400, 401, 403, 417}) | (hostile.wanted & {200}) | open_to_all(hostile))
        for hostile in requests
    ]
    await bombardment.send(unknown)
    assert not bombardment.problems, "\n".join(bombardment.problems)
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


def open_to_all(hostile: Hostile) -> frozenset[int]:
    """Return what those without a token may get, too: files of the page need none, nor does the answer that one is not
    there."""
    return frozenset({404}) if hostile.name.startswith("path: static") else frozenset()


# -- Half-open connections -------------------------------------------------------------------------


@pytest.mark.slow
async def test_half_open_connections_are_closed_and_slow_nobody_down(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege()
    clients = list(half_open.half_open(extent.of(short=100, long=500)))
    over = asyncio.Event()
    load = [asyncio.create_task(half_open.latencies(lambda: _honest_calls(server), over)) for _ in range(2)]
    hanging = [asyncio.create_task(half_open.cut_off(server.port, client)) for client in clients]
    # All but those that are no HTTP, which are refused at once, hang at the same time.
    await until(lambda: sockets(server.process.process.pid) >= len(clients) * 4 // 5, "they do not hang")
    ended = await asyncio.gather(*hanging)
    over.set()
    taken = [seconds for worker in load for seconds in await worker]
    late = [(client.kind, seconds) for client, seconds in zip(clients, ended, strict=True) if seconds > 20]
    assert late == []
    assert len(taken) > len(clients), "the others were not served meanwhile"
    assert half_open.percentile(taken, 0.99) < 0.2 or not extent.long
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
            await server.api.wants("POST", "/workflows/count/run-nowait", {"start_event": {"n": 1}})
        else:
            await server.api.wants("GET", f"/handlers/{server.ended}")
        yield


async def _honest_reads(server: Besieged) -> AsyncIterator[None]:
    while True:
        await server.api.wants("GET", f"/handlers/{server.ended}")
        yield


# -- The description -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True], ids=["open", "guarded"])
def test_what_schemathesis_sends_is_answered_as_described(
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
    problems = [problem for half in halves for problem in half.problems]
    assert not problems, "\n".join(problems)
    cases: Counter[str] = sum((half.cases for half in halves), Counter())
    checks: Counter[str] = sum((half.checks for half in halves), Counter())
    reached = set().union(*(half.reached("POST /workflows/{name}/run-nowait") for half in halves))
    assert {200, 400, 415} <= reached
    assert checks.keys() >= CHECKS
    assert cases["stateful_testing"] > 0
    log = FAILED_AS_MEANT.sub("", process.log.read_text())
    assert not [line for line in log.splitlines() if any(sign in line for sign in SIGNS)]
    survived(
        f"schemathesis over /openapi.json, all checks{', with and without a token' if guarded else ''}",
        "P11",
        times=cases.total(),
        unit="cases",
        figures=f"{checks.total()} checks; " + ", ".join(f"{count} {phase}" for phase, count in cases.items() if count),
    )


# -- Too much at once ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_thousand_starts_at_once_are_all_acknowledged(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege()
    before = await server.handlers()
    waves = extent.of(short=1, long=10)
    acknowledged: list[str] = []
    for _ in range(waves):
        starts = [
            server.api.wants("POST", "/workflows/count/run-nowait", {"start_event": {"n": 0}}) for _ in range(1_000)
        ]
        acknowledged += [handler["handler_id"] for handler in await asyncio.gather(*starts)]
    assert len(set(acknowledged)) == waves * 1_000
    over = asyncio.Event()
    load = asyncio.create_task(half_open.latencies(lambda: _honest_reads(server), over))
    lists = await asyncio.gather(*(server.handlers() for _ in range(5)))
    over.set()
    taken = await load
    assert all(listed.keys() == before.keys() | set(acknowledged) for listed in lists)
    assert server.signs() == Counter()
    survived(
        "1,000 starts at once, and lists of all handlers",
        "P1 P10",
        times=len(acknowledged),
        unit="starts",
        figures=f"lists of {len(lists[0])} handlers; meanwhile a read took {max(taken) * 1000:.0f} ms at most",
    )


@pytest.mark.slow
async def test_answers_of_ten_megabytes_that_nobody_reads_are_given_up(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege("--write-timeout", "1")
    started = await server.api.wants("POST", "/workflows/large/run", {"start_event": {"size": 10_000_000}})
    target = f"/handlers/{started['handler_id']}".encode()
    before = resident(server.process.process.pid)
    unread = [open_unread(server.port, request(target)) for _ in range(extent.of(short=8, long=100))]
    peak = before
    async with asyncio.timeout(60):
        while not all(is_dropped(connection) for connection in unread):
            await server.api.wants("GET", f"/handlers/{server.ended}")
            peak = max(peak, resident(server.process.process.pid))
            await asyncio.sleep(0.1)
    for connection in unread:
        connection.close()
    # Each takes 20 MiB and more while it waits: a hundred of them would take more than twice this.
    assert peak - before < 768 * 2**20
    assert server.signs() == Counter()
    survived(
        "answers of 10 MB that nobody reads",
        "P10",
        times=len(unread),
        unit="readers",
        figures=f"all given up; the server grew by {(peak - before) / 2**20:.0f} MiB meanwhile",
    )


# -- Who may call ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_guessing_a_token_meets_401_and_nothing_of_a_guess_is_logged(
    besiege: Besiege, extent: Extent, survived: Survived
) -> None:
    server = await besiege("--log-level", "debug", guarded=True)
    chance = random.Random(extent.seed)
    guesses = [guess_of(chance.choice((TOKEN, READ_TOKEN)), chance) for _ in range(extent.of(short=500, long=10_000))]
    begun = time.perf_counter()
    for guess in guesses:
        headers = {"Authorization": f"Bearer {guess}"}
        async with server.session.get("/handlers", headers=headers) as response:
            assert response.status == 401, guess
    rate = len(guesses) / (time.perf_counter() - begun)
    assert len(await server.handlers()) == 2
    assert server.signs() == Counter()
    survived(
        "tokens guessed close to the right ones", "P11", times=len(guesses), unit="guesses", figures=f"{rate:.0f}/s"
    )


@pytest.mark.slow
async def test_each_host_origin_method_and_token_is_judged_as_told(besiege: Besiege, survived: Survived) -> None:
    server = await besiege(
        "--allowed-host", "runs.example.org", "--cors-origin", "https://app.example.org", guarded=True
    )
    callers = list(all_callers(server.port))
    for caller in callers:
        answer = answers(await exchange(server.port, [caller.request]), bodiless=caller.method == "HEAD")[0]
        assert answer.status == caller.expected, caller
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (caller.origin if caller.may_read_across else None), caller
        assert "access-control-allow-credentials" not in answer.headers
    assert len(await server.handlers()) == 2
    assert {caller.expected for caller in callers} == {200, 204, 401, 403, 404}
    survived("every combination of host, origin, method and token", "P11", times=len(callers), unit="requests")
