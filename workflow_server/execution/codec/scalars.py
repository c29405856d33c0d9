"""Values without parts, of types that come with Python: their texts, and back."""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import ipaddress
import math
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Callable, Collection
from typing import Any

from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.layout import TAG

Json = Any
Part = Callable[[Any], Json]
"""Encodes or decodes a value that is part of another one."""

_PLAIN_BITS = 63
"""Size of integers, in bits, up to which they are JSON numbers; Python reads at most 4,300 digits."""


def is_plain_integer(value: int) -> bool:
    """Return whether an integer is written as a JSON number."""
    return value.bit_length() <= _PLAIN_BITS


_SPLIT_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def is_plain_text(value: str) -> bool:
    """Return whether a text is written as a JSON string; JSON would join two adjacent surrogates into one character."""
    return value.isascii() or _SPLIT_PAIR.search(value) is None


TOO_LARGE = 1 << _PLAIN_BITS
"""Integers from here on, and from its negative on, are not plain."""
MANY = 8
"""Values of a container from which on it pays to look at all of them at once."""
PLAIN: frozenset[type[Any]] = frozenset({str, int, float, bool, type(None)})
"""Types of JSON. Most values of them are written as themselves."""
TEXTS = frozenset({str})


def is_plain(value: Any) -> bool:
    """Return whether a value is certainly written as itself; of some that are, this does not say so."""
    kind = type(value)
    if kind is int:
        return bool(-TOO_LARGE < value < TOO_LARGE)
    return value is None or kind is bool or (kind is str and bool(value.isascii()))


def are_plain(values: Collection[Any]) -> bool:
    """Return whether all these values are written as themselves. The caller holds them in a container of its own,
    which no other thread changes."""
    kinds = set(map(type, values))
    return kinds <= PLAIN and all(_are_plain_of(kind, values, kinds) for kind in _CHECKED if kind in kinds)


def are_plain_or_texts(values: Collection[Any]) -> bool:
    """Return whether all these values are texts, or are written as themselves."""
    if len(values) >= MANY:
        kinds = set(map(type, values))
        return kinds <= PLAIN and all(_are_plain_of(kind, values, kinds) for kind in _NUMBERS if kind in kinds)
    for value in values:
        kind = type(value)
        if kind is str or value is None or kind is bool:
            continue
        if kind is int and -TOO_LARGE < value < TOO_LARGE:
            continue
        if kind is not float or not math.isfinite(value):
            return False
    return True


def _are_plain_of(kind: type[Any], values: Collection[Any], kinds: set[type[Any]]) -> bool:
    found = values if len(kinds) == 1 else [value for value in values if type(value) is kind]
    if kind is str:
        return _are_plain_texts(found)
    if kind is float:
        return all(map(math.isfinite, found))
    return bool(-TOO_LARGE < min(found) <= max(found) < TOO_LARGE)


_NUMBERS = (int, float)
_CHECKED = (str, int, float)


def are_names(keys: Collection[Any]) -> bool:
    """Return whether a dictionary of these keys is written as a plain one."""
    return TEXTS.issuperset(map(type, keys)) and TAG not in keys and _are_plain_texts(keys)


def _are_plain_texts(texts: Collection[str]) -> bool:
    return all(map(str.isascii, texts)) or all(map(is_plain_text, texts))


def text_node(value: str) -> Json:
    """Return the tree of a text that is not plain ASCII."""
    if is_plain_text(value):
        return value
    return {TAG: "str", "v": _base64(value.encode("utf-8", "surrogatepass"))}


def _zone(value: zoneinfo.ZoneInfo, part: Part) -> Json:  # noqa: ARG001
    if value.key is None:
        raise Unkeepable("is a time zone without a name, which cannot be found again").of(zoneinfo.ZoneInfo)
    return {TAG: "zone", "v": value.key}


def _offset(value: datetime.timezone, part: Part) -> Json:
    if value is datetime.UTC:
        return {TAG: "utc"}
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]
    return {TAG: "offset", "v": part(offset), **({"n": part(name[0])} if name else {})}


def _zoned(tag: str) -> Callable[[Any, Part], Json]:
    def encode(value: Any, part: Part) -> Json:
        node = {TAG: tag, "v": value.replace(tzinfo=None, fold=0).isoformat()}
        if value.tzinfo is not None:
            node["z"] = part(value.tzinfo)
        return {**node, "f": 1} if value.fold else node

    return encode


def _texts(tag: str, text: Callable[[Any], str] = str) -> Callable[[Any, Part], Json]:
    return lambda value, part: {TAG: tag, "v": text(value)}  # noqa: ARG005


def _any_text(tag: str) -> Callable[[Any, Part], Json]:
    return lambda value, part: {TAG: tag, "v": part(str(value))}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_ADDRESSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        ipaddress.IPv4Address,
        ipaddress.IPv6Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv6Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Network,
    )
}
_PATHS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (pathlib.PurePosixPath, pathlib.PosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath)
}
_CONSTANTS: dict[str, Any] = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}

SCALARS: dict[type, Callable[[Any, Part], Json]] = {
    bytes: _texts("b", _base64),
    complex: lambda value, part: {TAG: "complex", "v": [part(value.real), part(value.imag)]},
    datetime.datetime: _zoned("dt"),
    datetime.time: _zoned("time"),
    datetime.date: _texts("date"),
    datetime.timedelta: lambda value, part: {TAG: "td", "v": [value.days, value.seconds, value.microseconds]},  # noqa: ARG005
    datetime.timezone: _offset,
    zoneinfo.ZoneInfo: _zone,
    decimal.Decimal: _texts("dec"),
    fractions.Fraction: lambda value, part: {TAG: "frac", "v": [part(value.numerator), part(value.denominator)]},
    uuid.UUID: lambda value, part: {TAG: "uuid", "v": value.hex, "s": value.is_safe.value},  # noqa: ARG005
    re.Pattern: lambda value, part: {TAG: "re", "v": part(value.pattern), "f": value.flags},
    type(Ellipsis): _texts("const"),
    type(NotImplemented): _texts("const"),
    **{kind: _texts(name) for name, kind in _ADDRESSES.items()},
    **{kind: _any_text(name) for name, kind in _PATHS.items()},
}


def _read_zoned(kind: Any) -> Callable[[Any, Part], Any]:
    def decode(node: Any, part: Part) -> Any:
        value = kind.fromisoformat(node["v"])
        zone = part(node["z"]) if "z" in node else None
        return value.replace(tzinfo=zone, fold=node.get("f", 0)) if zone is not None or "f" in node else value

    return decode


def _read_offset(node: Any, part: Part) -> datetime.timezone:
    offset = part(node["v"])
    return datetime.timezone(offset, part(node["n"])) if "n" in node else datetime.timezone(offset)


def _read(make: Callable[[Any], Any]) -> Callable[[Any, Part], Any]:
    return lambda node, part: make(node["v"])  # noqa: ARG005


def _read_text(make: Callable[[Any], Any]) -> Callable[[Any, Part], Any]:
    return lambda node, part: make(part(node["v"]))


DECODED: dict[str, Callable[[Any, Part], Any]] = {
    "f": _read(float),
    "i": _read(lambda text: int(text, 16)),
    "b": _read(base64.b64decode),
    "str": _read(lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass")),
    "complex": lambda node, part: complex(part(node["v"][0]), part(node["v"][1])),
    "dt": _read_zoned(datetime.datetime),
    "time": _read_zoned(datetime.time),
    "date": _read(datetime.date.fromisoformat),
    "td": _read(lambda parts: datetime.timedelta(*parts)),
    "utc": lambda node, part: datetime.UTC,  # noqa: ARG005
    "offset": _read_offset,
    "zone": _read(zoneinfo.ZoneInfo),
    "dec": _read(decimal.Decimal),
    "frac": lambda node, part: fractions.Fraction(part(node["v"][0]), part(node["v"][1])),
    "uuid": lambda node, part: uuid.UUID(hex=node["v"], is_safe=uuid.SafeUUID(node["s"])),  # noqa: ARG005
    "re": lambda node, part: re.compile(part(node["v"]), node["f"]),
    "const": _read(_CONSTANTS.__getitem__),
    **{name: _read(kind) for name, kind in _ADDRESSES.items()},
    **{name: _read_text(kind) for name, kind in _PATHS.items()},
}
