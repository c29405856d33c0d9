"""The proxies' configurations in docs/operations.md are those that are tried."""

from __future__ import annotations

import re
import textwrap

import pytest

from tests.harness.spawning import ROOT


@pytest.mark.parametrize("name", ["nginx", "caddy", "haproxy", "apache2", "lighttpd"])
def test_the_configuration_that_is_shown_is_the_one_tried(name: str) -> None:
    config = (ROOT / "tests" / "interop" / "proxies" / f"{name}.conf").read_text()
    found = re.search(r"^ *# docs: begin\n(.*?)^ *# docs: end", config, re.DOTALL | re.MULTILINE)
    assert found is not None
    shown = textwrap.dedent(found[1]).replace("@UPSTREAM@", "8080").replace("@IDLE@", "60").rstrip()
    assert f"\n{shown}\n```" in (ROOT / "docs" / "operations.md").read_text()
