"""The examples as a user runs them: the shell lines of their docstrings, against a real server."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.conftest import StartServer
from tests.harness.plain_http import post_json
from tests.harness.spawning import clean_environment

PORT_IN_DOCS = "8080"


def shell_lines(example: Path) -> list[str]:
    """The commands behind ``$`` in a module's docstring, continuation lines joined; starting a server is left out."""
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    joined = docstring.replace("\\\n", " ")
    commands = re.findall(r"^ *\$ (.+)$", joined, re.MULTILINE)
    return [command for command in commands if not command.startswith("workflow-server ")]


def run_docstring(example: Path, port: int, root: Path) -> list[str]:
    script = "\n".join(shell_lines(example)).replace(f":{PORT_IN_DOCS}", f":{port}")
    done = subprocess.run(
        ["bash"], input=script, capture_output=True, text=True, cwd=root, env=clean_environment(), timeout=90
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_hello_answers_as_its_docstring_asks(root: Path, start_server: StartServer) -> None:
    server = start_server(root / "examples/hello.py")

    output = "".join(run_docstring(root / "examples/hello.py", server.port, root))

    answers = [json.loads(part) for part in output.replace("}{", "}\n{").splitlines()]
    assert [answer["result"]["value"]["result"] for answer in answers] == ["Hello, Ada!", "Hello, world!"]


def test_document_review_goes_as_its_docstring_says(root: Path, start_server: StartServer) -> None:
    server = start_server(root / "examples/document_review.py")

    output = run_docstring(root / "examples/document_review.py", server.port, root)

    text = "\n".join(output)
    assert text.count('"type":"SectionRead"') == 5
    assert '"type":"ApprovalRequested"' in text
    assert '{"status":"sent"}' in text.replace(": ", ":")
    assert "**Approved by Ada**" in output
    assert "> Ship it." in output


def test_nightly_batch_ends_as_its_docstring_says(root: Path, start_server: StartServer, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    server = start_server(root / "examples/nightly_batch.py", env={"NIGHTLY_BATCH_LEDGER": str(ledger)})

    output = run_docstring(root / "examples/nightly_batch.py", server.port, root)

    last = json.loads(output[-1])
    assert (last["type"], last["value"]["posted"]) == ("BatchDone", 22)
    assert len(ledger.read_text().splitlines()) == 22


def test_a_batch_killed_again_and_again_posts_each_invoice_once(
    root: Path, start_server: StartServer, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.ndjson"
    env = {"NIGHTLY_BATCH_LEDGER": str(ledger)}
    server = start_server(root / "examples/app.py", env=env)
    handler_id = start_batch(server.url, pause=0.05)
    for settled_before_the_kill in (1, 6, 12):
        for number, event in enumerate(stream(server.url, handler_id), start=1):
            assert event["type"] == "InvoiceSettled"
            if number == settled_before_the_kill:
                break
        server.kill()
        server = start_server(root / "examples/app.py", env=env)

    events = list(stream(server.url, handler_id, include_internal="true"))

    # What an interrupted posting had published stays, and is published again when it is made again: a set.
    settled = {event["value"]["number"] for event in events if event["type"] == "InvoiceSettled"}
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "BatchDone"
    assert events[-1]["value"]["posted"] == 22
    assert len(settled) == 24
    references = [json.loads(line)["reference"] for line in ledger.read_text().splitlines()]
    assert len(references) == len(set(references)) == 22


def start_batch(url: str, pause: float) -> str:
    handler = post_json(f"{url}/workflows/nightly_batch/run-nowait", {"start_event": {"pause": pause}})
    return str(handler["handler_id"])


def stream(url: str, handler_id: str, include_internal: str = "false") -> Iterator[dict[str, Any]]:
    """The events of a run from its start, until it ends or the caller has seen enough."""
    query = f"sse=false&after_sequence=-1&include_internal={include_internal}"
    with urllib.request.urlopen(f"{url}/events/{handler_id}?{query}", timeout=30) as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)
