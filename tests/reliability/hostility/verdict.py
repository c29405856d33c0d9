"""Conditions that the answers to any hostile request must meet."""

from __future__ import annotations

import json
import re

from tests.harness.spawning import ROOT
from tests.reliability.hostility import Hostile, request
from tests.reliability.hostility.raw_http import Answer, NotAnswers, answers

FOLLOW_UP = request(b"/health", head=b"Host: localhost\r\nConnection: close\r\n")
"""The honest request behind a hostile one."""

# What only the inside of the server knows: tracebacks, statements, modules, files.
_INSIDE = re.compile(
    r"Traceback|File \"|, line \d|\.py\b|site-packages|/usr/|/tmp/|"
    + re.escape(f"{ROOT}/")
    + r"|sqlite|\bSELECT\b|\bINSERT\b|\bUPDATE\b|\bFROM \w+ WHERE|constraint|"
    r"\baiohttp\b|\bpydantic|\basyncio\b|workflow_server\.|workflows\.|builtins\.|object at 0x|<class|NoneType",
    re.IGNORECASE,
)


def verdict(hostile: Hostile, received: bytes) -> tuple[str | None, list[Answer]]:
    """Return the fault in what was received, None where there is none; and the answers."""
    try:
        found = answers(received, bodiless=hostile.bodiless)
    except (NotAnswers, ValueError) as error:
        return str(error), []
    if not found:
        return (None if hostile.silence else "no answer"), found
    problems = [problem for answer in found if (problem := _problem(hostile, answer))]
    if problems:
        return problems[0], found
    if hostile.honest:
        return None, found
    if found[0].status not in hostile.wanted:
        return f"{found[0].status}, not one of {sorted(hostile.wanted)}: {found[0].body[:200]!r}", found
    if found[1:] and not _follows_up(hostile, found[1:]):
        return f"{len(found)} answers: {found[1].status} {found[1].body[:200]!r}", found
    return None, found


def _follows_up(hostile: Hostile, rest: list[Answer]) -> bool:
    """Return whether these answer the honest request behind it, or refuse the bytes that stood in its place."""
    refused = not hostile.follow_up and len(rest) == 1 and rest[0].status == 400
    return refused or [(answer.status, answer.body) for answer in rest] == [(200, b'{"status":"healthy"}')]


def _problem(hostile: Hostile, answer: Answer) -> str | None:
    status, headers = answer.status, answer.headers
    if headers.get("x-content-type-options") != "nosniff":
        return f"{status} without nosniff"
    if status < 400 or (hostile.bodiless and not answer.body):
        return None
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        return f"{status} as {headers.get('content-type')}: {answer.body[:200]!r}"
    try:
        body = json.loads(answer.body)
    except ValueError:
        return f"{status} is no JSON: {answer.body[:200]!r}"
    if status >= 500:
        ended = isinstance(body, dict) and body.get("status") in ("failed", "cancelled") and status == 500
        return None if ended else f"{status}: {answer.body[:200]!r}"
    # A 400 may name the fields that are not valid one by one, too.
    is_told = isinstance(body, dict) and bool(body.get("detail")) and body.keys() <= {"detail", "errors"}
    if not is_told or ("errors" in body and status != 400):
        return f"{status} is no {{'detail': …}}: {answer.body[:200]!r}"
    told = " ".join([body["detail"], *(error["message"] for error in body.get("errors", ()))])
    if any("\ud800" <= character <= "\udfff" for character in told):
        return f"{status} with half of a surrogate pair: {answer.body[:200]!r}"
    # What the client sent may be repeated to it: that is no knowledge of the server's.
    sent = b"".join(hostile.pieces)
    for found in _INSIDE.finditer(told):
        if found[0].encode() not in sent:
            return f"{status} tells '{found[0]}': {told[:300]}"
    return None
