"""``workflow-server runs history`` and ``runs export`` as they are typed, against a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_runs import Typed, assert_refused
from tests.conftest import ServerProcess, StartServer
from workflow_server.cli.new_file import FileNotWritten, new_file
from workflow_server.protocol.history import HistoryEntry

Json = dict[str, Any]
FLOWS = """
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

class Answer(HumanResponseEvent):
    text: str

class Publishing(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def publish(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(Answer, waiter_event=InputRequiredEvent(), requirements={"text": "y\\x9bes"})
        if ctx.retry_info().retry_number == 0:
            raise ValueError("the printer is \\x9b31mout of ink")
        ctx.write_event_to_stream(StopEvent(result={"n": 1.5, "text": answer.text * ev.get("times", 1)}))
        return StopEvent(result="done")

class Echo(Workflow):
    @step
    async def echo(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=dict(ev.items()))

publishing = Publishing(timeout=None)
echo = Echo()
"""


@pytest.fixture
def server(tmp_path: Path, start_server: StartServer) -> ServerProcess:
    (tmp_path / "flows.py").write_text(FLOWS)
    return start_server(tmp_path / "flows.py")


@pytest.fixture
def typed(server: ServerProcess, tmp_path: Path) -> Typed:
    return Typed(server.url, tmp_path)


def published(typed: Typed, *fields: str) -> str:
    """Let a run of ``publishing`` wait, fail once and end."""
    handler_id = typed.started("publishing", *fields)
    typed("runs", "send", handler_id, "Answer", "-f", "text=y\x9bes")
    typed("runs", "watch", handler_id)
    return handler_id


@pytest.mark.slow(15)
def test_a_history_is_told_line_by_line(typed: Typed) -> None:
    handler_id = published(typed)
    shown = typed("runs", "history", handler_id).stdout
    assert "\x9b" not in shown, "nothing of it writes to the terminal"
    lines = shown.splitlines()
    assert lines[0].split() == ["TIME", "WHAT", "STEP", "SECONDS", "DETAIL"]
    (failed,) = [line for line in lines if "attempt failed" in line]
    assert "ValueError: the printer is \\x9b31mout of ink" in failed
    assert "publish" in failed
    assert 'raise ValueError("the printer is' in shown
    (began,) = [line for line in lines if "wait began" in line]
    assert 'Answer, with text="y\\u009bes", question InputRequiredEvent' in began
    assert lines[-1].split()[2] == "completed"
    entries = typed.lines("runs", "history", handler_id)
    assert [list(entry) for entry in entries] == [list(HistoryEntry.model_fields)] * len(entries)
    assert len([line for line in lines if not line.startswith("    ")]) == len(entries) + 1
    assert_refused(typed("runs", "history", "stats", code=1), "(404): Handler 'stats' not found.")


def types_of(lines: list[Json]) -> Iterator[tuple[str, set[str]]]:
    """Each key with the JSON types of its values."""
    for name in lines[0]:
        yield name, {type(line[name]).__name__ for line in lines if line[name] is not None}


@pytest.mark.slow(20)
def test_an_export_has_all_of_a_handler_in_columns_of_one_type(typed: Typed, tmp_path: Path) -> None:
    handler_id = published(typed, "-f", "times=300000")
    for number in range(3):
        typed.started("echo", "-f", f"n={number}", "--wait")
    file = tmp_path / "all.jsonl"
    done = typed("runs", "export", "--all", "--values-as-text", "--output", str(file))
    assert done.stdout == ""
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_text().split("\n")[:-1]]
    assert len({tuple(line) for line in lines}) == 1, "the same keys in the same order"
    assert {name: kinds for name, kinds in types_of(lines) if len(kinds) > 1} == {}
    assert dict(types_of(lines))["value"] == dict(types_of(lines))["requirements"] == {"str"}
    own = [line for line in lines if line["handler_id"] == handler_id]
    handler = json.loads(own[0]["value"])
    assert (own[0]["kind"], handler) == ("handler", typed.lines("runs", "show", handler_id)[0])
    history = typed.lines("runs", "history", handler_id)
    assert [line["cursor"] for line in own[1:]] == [entry["cursor"] for entry in history]
    events = [line for line in own if line["sequence"] is not None]
    assert [line["sequence"] for line in events] == list(range(len(events)))
    assert all(line["value"] is not None for line in events)
    assert json.loads(own[-2]["value"]) != {"result": {"n": 1.5}}
    texts = [json.loads(line["value"])["result"]["text"] for line in events if "1.5" in line["value"]]
    assert texts == ["y\x9bes" * 300_000]


@pytest.mark.slow(15)
def test_an_export_takes_ids_or_filters_and_replaces_no_file(typed: Typed, tmp_path: Path) -> None:
    ids = [typed.started("echo", "-f", f"n={number}", "--tag", f"tag-{number}", "--wait") for number in range(2)]
    ids = [str(line["handler_id"]) for line in typed.lines("runs", "list")][::-1]
    for chosen in (["--tag", "tag-1"], [ids[1]]):
        lines = [json.loads(line) for line in typed("runs", "export", *chosen).stdout.splitlines()]
        assert {line["handler_id"] for line in lines} == {ids[1]}
        assert lines[0]["value"]["result"]["value"] == {"result": {"n": 1}}
        assert lines[-1]["value"] == {"result": {"n": 1}}
    for chosen in ([], [ids[0], "--all"], ["--all", "--tag", "tag-1"]):
        assert "or at least one filter" in typed("runs", "export", *chosen, code=2).stderr
    file = tmp_path / "there.jsonl"
    assert_refused(typed("runs", "export", "nobody", "-o", str(file), code=1), "(404): Handler 'nobody' not found.")
    assert list(tmp_path.glob("*there*")) == [], "nothing is left"
    file.write_text("mine")
    assert_refused(typed("runs", "export", *ids, "-o", str(file), code=1), "it exists, and is not replaced")
    assert file.read_text() == "mine"


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with new_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(FileNotWritten, match="exists"), new_file(path):
        pass
    with pytest.raises(FileNotWritten, match="exists"), new_file(tmp_path / "other"):
        (tmp_path / "other").write_bytes(b"came meanwhile")
    with pytest.raises(ZeroDivisionError), new_file(tmp_path / "third"):
        raise ZeroDivisionError
    with pytest.raises(FileNotWritten, match="No such file"), new_file(tmp_path / "no folder" / "file"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["new", "other"]
    assert (tmp_path / "other").read_bytes() == b"came meanwhile"
