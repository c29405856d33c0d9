"""Request bodies: read within bounds of size and time, parsed strictly, and validated."""

from __future__ import annotations

import asyncio
import hashlib
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

from aiohttp import StreamReader, hdrs, web
from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from workflow_server.errors import InvalidBody
from workflow_server.printable import printable
from workflow_server.protocol.explaining import MAX_ERRORS, MAX_PLACE, explained
from workflow_server.protocol.handlers import IdempotencyKey
from workflow_server.protocol.strict_json import canonical_json, parse_json
from workflow_server.web.exceptions import BodyTooLarge, BodyTooSlow, InvalidHeader
from workflow_server.web.state import SETTINGS

IDEMPOTENCY_KEY = "Idempotency-Key"
MAX_KEY = 255
PATIENCE = 10.0
"""Seconds that a body may take at any rate, and the longest pause in it."""
PACE = 1_024
"""Bytes that give a body one more second, up to ``body_timeout`` in all: a client on a slow line keeps its connection,
one that only holds it open does not."""

Body = TypeVar("Body", bound=BaseModel)


async def read_body(
    request: web.Request, model: type[Body], *, limit: int | None = None
) -> tuple[Body, IdempotencyKey | None]:
    """Read the body as ``model``, and the ``Idempotency-Key``. An empty body means ``{}``. ``limit``: its largest size
    in bytes, None for that of the settings.

    Raises:
        RequestRefused: the body is too large, too slow, not a JSON object or not valid as ``model``, or the key is
            not 1 to 255 visible ASCII characters.
    """
    key = idempotency_key(request)
    longest = request.app[SETTINGS].max_body
    raw = await _read_bytes(request, longest if limit is None else min(limit, longest))
    fields = parse_json(raw) if raw.strip() else {}
    if not isinstance(fields, dict):
        raise InvalidBody(f"The body must be a JSON object, not {_json_type(fields)}.")
    _check_keys(fields, model)
    try:
        body = model.model_validate(fields)
    except ValidationError as error:
        text, problems = explained(error, fields)
        raise InvalidBody(f"The body is not valid. {text}.", problems) from None
    if key is None:
        return body, None
    return body, IdempotencyKey(key, hashlib.sha256(canonical_json(fields)).hexdigest())


def idempotency_key(request: web.Request) -> str | None:
    """Return the ``Idempotency-Key`` of a request.

    Raises:
        InvalidHeader: it is not 1 to 255 visible ASCII characters, or is repeated.
    """
    keys = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= MAX_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidHeader(
            f"Invalid {IDEMPOTENCY_KEY}: expected one value of 1 to {MAX_KEY} visible ASCII characters."
        )
    return key


async def _read_bytes(request: web.Request, limit: int) -> bytes:
    if request.content_length is not None and request.content_length > limit:
        raise BodyTooLarge(limit)
    try:
        if not request.content.is_eof():
            return await _gathered(request.content, limit, request.app[SETTINGS].body_timeout)
        # All of it came with the head, as that of most requests does.
        raw = request.content.read_nowait()
    except web.RequestPayloadError:
        raise InvalidBody(f"The body does not match its {hdrs.TRANSFER_ENCODING}.") from None
    if len(raw) > limit:
        raise BodyTooLarge(limit)
    return raw


async def _gathered(content: StreamReader, limit: int, longest: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    clock = asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(min(longest, PATIENCE)) as deadline:
            while part := await content.readany():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(limit)
                parts.append(part)
                in_all = min(longest, PATIENCE + size / PACE)
                deadline.reschedule(min(begun + in_all, clock() + PATIENCE))
    except TimeoutError:
        raise BodyTooSlow(longest, min(longest, PATIENCE), PACE) from None
    return b"".join(parts)


def _check_keys(fields: dict[str, Any], model: type[BaseModel]) -> None:
    """Refuse unknown keys before validation, which would make an error of each: a body has room for 100,000.

    Raises:
        InvalidBody: there are unknown keys; the first are named.
    """
    known = _known_keys(model)
    if fields.keys() <= known:
        return
    unknown = (f"'{printable(key, MAX_PLACE)}'" for key in fields if key not in known)
    if named := ", ".join(islice(unknown, MAX_ERRORS)):
        raise InvalidBody(f"The body is not valid. {named}: unknown key; {_advice(known)}.")


@lru_cache
def _known_keys(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(name for field, info in model.model_fields.items() for name in _names(field, info))


def _advice(known: frozenset[str]) -> str:
    """Return what would be right instead of an unknown key: most are the fields of an event, one level too high."""
    for event in ("start_event", "event"):
        if event in known:
            return f"put the fields of an event inside '{event}'"
    names = ", ".join(f"'{key}'" for key in sorted(known))
    return f"known are {names}"


def _names(field: str, info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias if isinstance(alias, str) else field]


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")
