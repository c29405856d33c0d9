"""Bodies that are not JSON, not strict JSON, or JSON with names that are not allowed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Final

from tests.reliability.hostility.request import BAD, HOST, JSON, RUN, SECRET, Hostile, Statuses, post

SEND: Final = b"/events/@-WAITING-"
_NOT_JSON: Statuses = frozenset({415})
_TARGETS = {"run": RUN, "run and wait": b"/workflows/count/run", "send": SEND}

_TEXTS: dict[str, bytes] = {
    "array": b"[]",
    "string": b'"text"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "open": b"{",
    "two values": b"{}{}",
    "trailing comma": b'{"start_event": {},}',
    "single quotes": b"{'start_event': {}}",
    "comment": b"{/* */}",
    "no quotes": b"{start_event: {}}",
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "UTF-16 without BOM": '{"start_event": {}}'.encode("utf-16-le"),
    "UTF-32": "{}".encode("utf-32"),
    "Latin-1": '{"start_event": {"text": "ä"}}'.encode("latin-1"),
    "0xff": b"\xff",
    "overlong": b'{"\xc0\xaf": 1}',
    "encoded surrogate": b'{"start_event": {"text": "\xed\xa0\x80"}}',
    "control in a string": b'{"start_event": {"text": "\x00"}}',
    "line end in a string": b'{"start_event": {"text": "\n"}}',
    "half an escape": b'{"start_event": {"text": "\\u12"}}',
    "XML": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
    "YAML": b"!!python/object/apply:os.system ['true']",
    "pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "form": b"start_event=%7B%7D",
    "NULs": b"\x00" * 1_000,
    "a secret": b'{"password": "' + SECRET + b'"',
}

_VALUES: dict[str, bytes] = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e400": b"1e400",
    "a long exponent": b"1e" + b"9" * 10_000,
    "past 64 bits": b"18446744073709551616",
    "past 64 bits below": b"-9223372036854775809",
    "a million digits": b"9" * 1_000_000,
    "a long fraction": b"0." + b"1" * 100_000 + b"e99999",
    "lone surrogate": b'"\\ud800"',
    "lone low surrogate": b'"\\udc00"',
    "surrogates the wrong way round": b'"\\udc00\\ud800"',
    "duplicate keys": b'{"a": 1, "a": 2}',
    "duplicate escaped keys": b'{"a": 1, "\\u0061": 2}',
    "surrogate key": b'{"\\ud800": 1}',
    "leading zero": b"01",
    "plus": b"+1",
    "hexadecimal": b"0x10",
    "undefined": b"undefined",
}

_DEPTHS = (101, 1_000, 10_000, 100_000)

_START_EVENTS: tuple[object, ...] = (
    {"n": "two"},
    {"n": -1},
    {"n": 10**9},
    {"n": 1.5},
    {"n": None},
    {"n": [1]},
    {"n": 2, "text": 5},
    {"n": 2, "text": {"__class__": "x"}},
    [],
    5,
    "no JSON",
    "[]",
    '{"n": NaN}',
    '"' * 3,
    {"type": "CountTo", "value": []},
    {"type": "CountTo", "value": {"n": {"__is_pydantic": True, "qualified_name": "os.system", "value": {}}}},
    {"_data": 5},
    {"_secret": 1},
    {"__class__": "os.system"},
    {"__init__": {"__globals__": {}}},
    {"model_config": {"extra": "allow"}, "n": "x"},
)

_BARE_FIELDS: tuple[object, ...] = (
    {"type": "os.system", "value": {}},
    {"type": "Decision", "value": {"approved": True}},
    {"qualified_name": "subprocess.Popen", "value": {"args": ["true"]}},
    {"qualified_name": "tests.reliability.targets.hostile.Counted", "value": {}},
    {"type": "__class__", "value": {}},
)
"""Objects that name no event of the workflow: they are the fields of a start event, and nothing is looked up."""

_KEYS: tuple[object, ...] = (
    {"start_event": {}, "kwargs": {"n": 1}, "other": 1},
    {"start_event": {"n": 1}, "kwargs": {"n": 1}},
    {"Start_event": {}},
    {"__proto__": {"admin": True}},
    {"constructor": {"prototype": {}}},
    {"handler_id": 5},
    {"handler_id": {"$ne": None}},
    {"handler_id": ["@--ENDED--"]},
    {"kwargs": "text"},
    {"context": "text"},
    {"context": {"state": {"state_data": {"__is_pydantic": True, "qualified_name": "os.system"}}}},
    {"context": {"__class__": "builtins.eval", "py/object": "os.system", "py/reduce": [{"py/function": "os.system"}]}},
    {"context": {"globals": {"pickled": "gASVHgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOULg=="}}},
    {"run_id": "x"},
    {"status": "completed"},
)

_EVENTS: tuple[object, ...] = (
    None,
    5,
    [],
    "",
    "text",
    "5",
    {},
    {"type": None},
    {"type": 5, "value": {}},
    {"type": ["Decision"], "value": {}},
    {"type": {"Decision": 1}, "value": {}},
    {"type": "Decision"},
    {"type": "Decision", "value": None},
    {"type": "Decision", "value": []},
    {"type": "Decision", "value": "{"},
    {"type": "Decision", "value": {"approved": "perhaps"}},
    {"type": "Decision", "value": {"approved": True, "_private": 1}},
    {"type": "Decision", "value": {"approved": True, "_data": []}},
    *(
        {"type": kind, "value": {}}
        for kind in ("", "decision", "Decision ", "Decision\u0000", "object", "type", "__class__")
    ),
    *(
        {"type": kind, "value": {}}
        for kind in ("__main__", "os.system", "builtins.exec", "subprocess.Popen", "Workflow")
    ),
    *({"type": kind, "value": {}} for kind in ("workflows.events.Event", "StepFailedEvent", "CountTo", "x" * 50_000)),
    {"qualified_name": "os.system", "value": {"command": "true"}},
    {"qualified_name": "antigravity.Event", "value": {}},
    {"qualified_name": "this.s", "value": {}},
    {"qualified_name": "../../etc/passwd", "value": {}},
    {"__is_pydantic": True, "qualified_name": "os.system", "value": {}},
    {"__is_component": True, "qualified_name": "builtins.eval", "value": "1"},
    {"py/object": "os.system"},
)


def bodies() -> Iterator[Hostile]:
    """All of them."""
    for place, target in _TARGETS.items():
        for name, text in _TEXTS.items():
            yield Hostile(f"{place}: {name}", (post(target, text),), BAD)
    for name, value in _VALUES.items():
        yield Hostile(f"run: {name}", (post(RUN, b'{"start_event": {"text": %s}}' % value),), BAD)
        inside = b'{"event": {"type": "Decision", "value": {"approved": true, "reason": %s}}}' % value
        yield Hostile(f"send: {name}", (post(SEND, inside),), BAD)
        text = json.dumps({"start_event": f'{{"text": {value.decode()}}}'}).encode()
        if len(text) < 1_000_000:
            yield Hostile(f"run, in a string: {name}", (post(RUN, text),), BAD)
    yield from _deep()
    yield from _meanings()
    yield from _media()


def _deep() -> Iterator[Hostile]:
    for depth in _DEPTHS:
        for name, opening, closing in (("arrays", b"[", b"]"), ("objects", b'{"a":', b"}"), ("open arrays", b"[", b"")):
            inner = opening * depth + b"1" + closing * depth
            yield Hostile(f"run: {depth} {name}", (post(RUN, b'{"start_event": {"text": %s}}' % inner),), BAD)
            yield Hostile(f"send: {depth} {name}", (post(SEND, b'{"event": %s}' % inner),), BAD)
        nested = json.dumps({"start_event": "[" * depth}).encode()
        yield Hostile(f"run, in a string: {depth} arrays", (post(RUN, nested),), BAD)
    strings = b'"' + b"\\" * 500_001 + b'"'
    yield Hostile("run: half a million backslashes", (post(RUN, b'{"start_event": {"text": %s}}' % strings),), BAD)
    yield Hostile(
        "run: a body of brackets in strings", (post(RUN, b'{"start_event": "' + b"[{" * 400_000 + b'"}'),), BAD
    )


def _meanings() -> Iterator[Hostile]:
    for event in _START_EVENTS:
        body = json.dumps({"start_event": event}).encode()
        yield Hostile(f"start_event: {str(event)[:60]}", (post(RUN, body),), BAD)
    for event in _BARE_FIELDS:
        body = json.dumps({"start_event": event}).encode()
        yield Hostile(f"start_event: {str(event)[:60]}", (post(RUN, body),), frozenset({200}))
    for fields in _KEYS:
        yield Hostile(f"run body: {str(fields)[:60]}", (post(RUN, json.dumps(fields).encode()),), BAD)
    for event in _EVENTS:
        body = json.dumps({"event": event}).encode()
        yield Hostile(f"event: {str(event)[:60]}", (post(SEND, body),), BAD)
        if isinstance(event, dict):
            text = json.dumps({"event": json.dumps(event)}).encode()
            yield Hostile(f"event in a string: {str(event)[:60]}", (post(SEND, text),), BAD)
    for step in ("", "__init__", "run", "no step", "ask", 5, ["decide"], "decide\u0000", "x" * 50_000):
        fields = {"event": {"type": "Decision", "value": {"approved": True}}, "step": step}
        yield Hostile(f"step: {str(step)[:20]}", (post(SEND, json.dumps(fields).encode()),), BAD)
    for handler_id in ("nothing", "@-WAITING-", "' OR 1=1 --", "\u0000", "x" * 100_000, "../..", "\U0001f4a3"):
        body = json.dumps({"handler_id": handler_id}).encode()
        wanted = frozenset({404, 409})
        yield Hostile(f"continue: {handler_id[:20]!r}", (post(RUN, body),), wanted)
    yield Hostile(
        "an event for nobody", (post(b"/events/nobody", b'{"event": {"type": "Decision"}}'),), frozenset({404})
    )
    yield Hostile(
        "an event for what has ended",
        (post(b"/events/@--ENDED--", b'{"event": {"type": "Counted"}}'),),
        frozenset({409, 400}),
    )


def _media() -> Iterator[Hostile]:
    kinds: tuple[bytes, ...] = (
        b"text/plain",
        b"text/json",
        b"application/x-www-form-urlencoded",
        b"application/jsonp",
        b"application/json5",
        b"",
        b"*/*",
    )
    kinds += (
        b"application/json, text/plain",
        b"application/xml",
        b"multipart/form-data; boundary=x",
        b"application/octet-stream",
    )
    kinds += (b"application/json\x85", b"application / json", b"x" * 5_000)
    for kind in kinds:
        head = HOST + b"Content-Type: " + kind + b"\r\n"
        for place, target in (("run", RUN), ("send", SEND), ("cancel", b"/handlers/@-WAITING-/cancel?purge=true")):
            yield Hostile(f"{place} as {kind[:24]!r}", (post(target, b"{}", head),), _NOT_JSON | BAD)
    part = b'--x\r\nContent-Disposition: form-data; name="start_event"; filename="../../x"\r\n\r\n{}\r\n--x--\r\n'
    head = HOST + b"Content-Type: multipart/form-data; boundary=x\r\n"
    yield Hostile("multipart", (post(RUN, part, head),), _NOT_JSON)
    yield Hostile("no content type", (post(RUN, b"{}", HOST),), _NOT_JSON)
    yield Hostile("two content types", (post(RUN, b"{}", HOST + JSON + b"Content-Type: text/plain\r\n"),), BAD)
    for charset in (
        b"utf-16",
        b"latin-1",
        b"nope",
        b"utf-7",
        b'"utf-8',
        b"idna",
        b"zlib",
        b"\xff",
        b"rot13",
        b"unicode_escape",
    ):
        head = HOST + b"Content-Type: application/json; charset=" + charset + b"\r\n"
        yield Hostile(f"charset {charset!r}", (post(RUN, b"[]", head),), BAD)
    bombs = {
        "gzip": gzip.compress(b" " * 20_000_000),
        "deflate": zlib.compress(b" " * 20_000_000),
        "br": b"\x0b\x80{}\x03",
    }
    bombs |= {
        "zstd": b"\x28\xb5\x2f\xfd",
        "identity, gzip": gzip.compress(b"{}"),
        "x-gzip": gzip.compress(b"{}"),
        "nope": b"{}",
    }
    for coding, body in bombs.items():
        head = HOST + JSON + b"Content-Encoding: " + coding.encode() + b"\r\n"
        for target in (RUN, SEND, b"/nothing"):
            wanted = _NOT_JSON if target != b"/nothing" else frozenset({404, 415})
            yield Hostile(f"{coding} {target.decode()}", (post(target, body, head),), wanted)
    yield Hostile("too large", (post(RUN, b" " * 1_048_577),), frozenset({413}))
    yield Hostile("far too large", (post(RUN, b" " * 8_000_000),), frozenset({413}))
