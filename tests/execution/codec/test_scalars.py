"""Values without parts."""

from __future__ import annotations

import datetime as dt
import decimal
import ipaddress
import json
import pathlib
import zoneinfo
from typing import Any

import pytest

from tests.execution.codec.roundtrip import assert_kept, read_back
from tests.values import classes as c
from workflow_server.execution.codec import Codec

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "value",
    [
        "\ud83d\ude00",
        "a\ud800",
        {"\ud83d\ude00": 1},
        pathlib.PurePosixPath("\ud83d\ude00"),
        dt.timezone(dt.timedelta(0), "\ud83d\ude00"),
        2**63,
        -(2**63),
        10**5_000,
        -0.0,
        complex(-0.0, float("nan")),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
        dt.datetime.max,
        dt.timezone(dt.timedelta(0), "UTC"),
        dt.timezone(dt.timedelta(hours=5, microseconds=3)),
        dt.timedelta.min,
        decimal.Decimal("sNaN12"),
        decimal.Decimal("-0.00"),
        ipaddress.ip_address("fe80::1%eth0"),
        c.Rights(0),
        ~c.Rights.READ,
        c.IntRights(12),
        c.Color.CRIMSON,
        c.Functional.ONE,
        c.Outer.Inner.X,
        c.Unhashed.LIST,
        ...,
        NotImplemented,
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_at_the_edge_of_its_kind_is_kept(value: Any) -> None:
    assert_kept(value)


def test_two_surrogates_side_by_side_do_not_become_one_character() -> None:
    assert len(read_back("\ud83d\ude00")) == 2
    assert read_back("😀") == "😀"


def test_utc_is_the_one_of_python_and_a_zone_of_its_name_is_not() -> None:
    assert read_back(dt.UTC) is dt.UTC
    assert read_back(dt.timezone(dt.timedelta(0), "UTC")) is not dt.UTC


def test_plain_json_is_written_as_it_is() -> None:
    value = {"a": [1, 1.5, None, True, "ä"], "b": {}}
    assert json.loads(Codec().dumps(value)) == value
