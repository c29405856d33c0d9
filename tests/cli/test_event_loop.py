"""The event loop of the command."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from workflow_server.cli.event_loop import COLLECTED_AFTER, new_event_loop, run
from workflow_server.errors import SettingsError
from workflow_server.settings import EventLoop


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def _loop_of(kind: EventLoop) -> str:
    found: list[str] = []

    async def look() -> None:
        found.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])

    loop = new_event_loop(kind)
    run(look(), loop)
    return found[0]


def test_the_loop_is_that_asked_for_else_uvloop_if_installed() -> None:
    assert _loop_of("asyncio") == "asyncio"
    pytest.importorskip("uvloop")
    assert _loop_of("uvloop") == "uvloop"
    assert _loop_of("auto") == "uvloop"


def test_without_uvloop_auto_is_asyncio_and_uvloop_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert _loop_of("auto") == "asyncio"
    with pytest.raises(SettingsError, match=r"workflow_server\[uvloop\]"):
        _loop_of("uvloop")


def test_only_the_command_changes_the_garbage_collector() -> None:
    _loop_of("asyncio")
    assert gc.get_threshold()[0] == COLLECTED_AFTER
    program = "import gc, workflow_server.server, workflow_server.cli.main; print(gc.get_threshold()[0])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "700\n"
