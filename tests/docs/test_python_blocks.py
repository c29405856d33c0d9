"""The Python of the documentation is Python, and that of the README runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.spawning import ROOT
from workflow_server import WorkflowServer


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", ["README.md", "docs/guide.md", "docs/api.md"])
def test_every_block_compiles(document: str) -> None:
    blocks = python_blocks(ROOT / document)
    assert blocks
    for block in blocks:
        compile(block, document, "exec")


def test_the_readmes_blocks_make_a_server_that_serves_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # The engine reads the annotations of steps from their module.
    names: dict[str, object] = {"__name__": __name__}
    exec("\n".join(python_blocks(ROOT / "README.md")), names)
    server = names["server"]
    assert isinstance(server, WorkflowServer)
    assert server.workflow_names == ["hello"]
