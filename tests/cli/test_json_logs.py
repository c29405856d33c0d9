"""The log as JSON: each line is one object, whoever logs what, and says which request or run it is about."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.harness.plain_http import get_json
from tests.harness.spawning import COMMAND, end, printed, serve_command, spawn
from workflow_server.log_context import begin_request, begin_run
from workflow_server.logs import JsonFormatter

FORGED = 'x"}\n{"level": "CRITICAL"}\r\u2028\x85\x1b[2J\ud800'


def as_json(message: object, *arguments: object, name: str = "a.logger", error: BaseException | None = None) -> Any:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord(name, logging.ERROR, "x.py", 1, message, arguments, info)
    record.stack_info = "Stack:\n  here" if error is not None else None
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    return json.loads(line)


def test_a_record_is_one_object_whatever_is_in_it() -> None:
    said = as_json("field %s", FORGED, name=FORGED)
    assert said["level"] == "ERROR"
    assert said["logger"] == FORGED
    assert said["message"] == r'field x"}\n{"level": "CRITICAL"}\r\u2028\x85\x1b[2J\ud800'
    assert said["time"].endswith("+00:00")
    assert said.keys() == {"level", "logger", "message", "time"}
    assert len(as_json("x" * 1_000_000)["message"]) == 10_000


class Unreadable:
    def __str__(self) -> str:
        raise ValueError(FORGED)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        ("%d runs", ("canary",), "%d runs (what was logged with it cannot be shown)"),
        ("run %s", (Unreadable(),), "run %s (what was logged with it cannot be shown)"),
        (Unreadable(), (), "A Unreadable (what was logged with it cannot be shown)"),
    ],
)
def test_a_record_that_cannot_be_formatted_is_one_too(message: object, arguments: tuple[object], said: str) -> None:
    assert as_json(message, *arguments)["message"] == said


class Secret(BaseModel):
    pin: int


def test_a_traceback_quotes_no_value_that_did_not_validate() -> None:
    with pytest.raises(ValidationError) as refused:
        Secret.model_validate({"pin": "-".join(["canary", "7f3"])})
    said = as_json(f"Failed: {refused.value}", error=refused.value)
    assert "canary-7f3" not in str(said)
    assert "Traceback (most recent call last):\n" in said["traceback"]
    assert said["traceback"].endswith("Stack:\n  here")


def test_what_this_server_puts_below_a_line_is_the_traceback() -> None:
    said = as_json("It failed: x\n    Traceback\n      File x", name="workflow_server.execution.writer")
    assert (said["message"], said["traceback"]) == ("It failed: x", "Traceback\n  File x")
    assert as_json("x\n    y")["message"] == r"x\n    y"


def test_a_record_from_outside_of_a_run_may_say_what_it_is_about() -> None:
    record = logging.LogRecord("a.logger", logging.INFO, "x.py", 1, "x", (), None)
    vars(record).update({"handler_id": "handler", "step": "step", "run_id": object()})
    said = json.loads(JsonFormatter().format(record))
    assert (said["handler_id"], said["step"], "run_id" in said) == ("handler", "step", False)


async def test_a_run_outlives_the_request_that_started_it() -> None:
    async def in_run() -> Any:
        begin_run("handler", "run")
        return as_json("in it")

    begin_request()
    first = as_json("before")["request_id"]
    of_run = await asyncio.create_task(in_run())
    assert (of_run["handler_id"], of_run["run_id"]) == ("handler", "run")
    assert "request_id" not in of_run
    after = as_json("after")
    assert (after["request_id"], "run_id" in after) == (first, False)
    begin_request()
    assert as_json("another")["request_id"] != first


# -- The command -----------------------------------------------------------------------------------

FLOWS = """
import asyncio, logging
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Talk(Workflow):
    @step
    async def talk(self, ev: StartEvent) -> StopEvent:
        logging.getLogger("mine").warning("said %s", ev.get("text"))
        await asyncio.to_thread(logging.getLogger("mine").warning, "in a thread")
        if ev.get("fails"):
            raise ValueError(ev.get("text"))
        return StopEvent()

talk = Talk()
"""


class Talking:
    """A server that logs as JSON, and what it writes to stdout and to the log."""

    url: str

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / "talking_flows.py").write_text(FLOWS)
        self._log = folder / "server.log"
        command = [*COMMAND, *serve_command("talking_flows.py", folder / "db.sqlite3")]
        self.process: subprocess.Popen[str] = spawn(
            [*command, "--log-format", "JSON", *options], log=self._log, cwd=folder, environment={}
        )

    def begin(self) -> list[str]:
        said = [json.loads(printed(self.process).readline())["message"] for _ in range(4)]
        self.url = said[0].removeprefix("Listening on ")
        return said

    def run(self, **fields: Any) -> dict[str, Any]:
        body = json.dumps({"start_event": fields}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/workflows/talk/run", body, headers)
        try:
            handler: dict[str, Any] = get_json(request)
        except urllib.error.HTTPError as error:
            handler = json.loads(error.read())
        return handler

    def logged(self) -> list[dict[str, Any]]:
        self.process.terminate()
        assert self.process.wait(30) == 0
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Talking]:
    server = Talking(tmp_path, "--access-log")
    yield server
    end(server.process)


def test_every_line_of_the_command_is_an_object_with_the_ids(talking: Talking) -> None:
    assert [line.split()[0] for line in talking.begin()] == ["Listening", "Database:", "Workflows:", "Resumed"]
    ok, failed = talking.run(text=FORGED.strip("\ud800")), talking.run(text="no", fails=True)
    assert (ok["status"], failed["status"]) == ("completed", "failed")
    lines = talking.logged()

    steps = [line for line in lines if line["logger"] == "mine"]
    assert [(line["handler_id"], line["run_id"], line["step"]) for line in steps] == [
        (run["handler_id"], run["run_id"], "talk") for run in (ok, ok, failed, failed)
    ]
    assert steps[0]["message"].startswith(r'said x"}\n{"level"')
    (failure,) = (line for line in lines if line["level"] == "ERROR")
    assert (failure["handler_id"], failure["run_id"]) == (failed["handler_id"], failed["run_id"])
    assert 'raise ValueError(ev.get("text"))' in failure["traceback"]

    requests = [line for line in lines if line["logger"] == "workflow_server.access"]
    assert [(line["path"], line["status"]) for line in requests] == [
        ("/workflows/{name}/run", 200),
        ("/workflows/{name}/run", 500),
    ]
    assert len({line["request_id"] for line in requests}) == 2
