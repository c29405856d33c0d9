"""The table of values in docs/guide.md is the list of kinds that the end-to-end tests carry, and its example runs.

``WRITE_DOCS=1`` writes the table anew.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

import pytest

from tests.docs.test_python_blocks import python_blocks
from tests.harness.spawning import ROOT
from tests.values.kinds import BY_VALIDATOR, KINDS
from workflow_server.execution.codec import Codec

PAGE = ROOT / "docs" / "guide.md"
BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"


def values_table() -> str:
    """The rows as they should stand there."""
    rows = ["| value | events and state | start event | result |\n", "|---|---|---|---|\n"]
    for kind in KINDS:
        start = "validator" if kind.json is BY_VALIDATOR else "JSON"
        rows.append(f"| {kind.name} | kept | kept, {start} | {'as JSON' if kind.in_result else 'not as JSON'} |\n")
    return "".join(rows)


def test_the_table_of_values_is_the_list_that_is_carried() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(before + BEGIN + values_table() + END + after, encoding="utf-8")
    else:
        assert table == values_table()


def test_the_example_of_register_type_makes_its_type_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [block for block in python_blocks(PAGE) if "register_type(" in block]
    module = types.ModuleType("guide_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block, module.__dict__)
    account: Any = module.__dict__["Account"](7)
    again = Codec().loads(Codec().dumps({"accounts": [account]}))["accounts"][0]
    assert type(again) is type(account)
    assert again.number == 7
    assert again.lock is not account.lock
