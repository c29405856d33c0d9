"""Steps that raise anything, from anywhere: the step fails and says why, and the server goes on."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.end_to_end.targets.misbehaving import KINDS
from tests.harness.api import Json
from tests.harness.server_process import DurableServer

BY_LIBRARY = "CancelledError: by a library (cancelled from within, not by the server)"
CANCELLED = "CancelledError (cancelled from within, not by the server)"
REASONS = {
    "cancelled": BY_LIBRARY,
    "cancelled_task": CANCELLED,
    "cancelled_future": CANCELLED,
    "cancels_itself": CANCELLED,
    "cancels_itself_and_returns": "CancelledError: late (cancelled from within, not by the server)",
    "cancelled_by_callback": CANCELLED,
    "cancels_everything": CANCELLED,
    "generator_exit": "GeneratorExit",
    "exit": "SystemExit: 3",
    "keyboard": "KeyboardInterrupt",
    "odd": "Odd: odd",
    "mute": "Mute: its message cannot be read",
    "group": "BaseExceptionGroup: several (SystemExit: 3; ValueError: bad\\nvalue)",
    "thread": "SystemExit: 3",
    "thread_cancelled": CANCELLED,
    "task_group": "ExceptionGroup: unhandled errors in a TaskGroup (SystemExit: 3)",
    "task_group_odd": "BaseExceptionGroup: unhandled errors in a TaskGroup (Odd: odd)",
    "task_group_generator_exit": "BaseExceptionGroup: unhandled errors in a TaskGroup (GeneratorExit)",
    "gather": "KeyboardInterrupt",
    "nested_exit": "SystemExit: 3",
    "nested_cancelled": BY_LIBRARY,
    "nested_odd": "Odd: odd",
    "nested_thread": "SystemExit: 3",
    "nested_cancels_itself": CANCELLED,
    "nested_cancels_itself_and_returns": CANCELLED,
    "nested_cancelled_by_callback": CANCELLED,
    "nested_generator_exit": "GeneratorExit",
}
OTHERS = [
    ("failing_handler", None, "SystemExit: 6 in step handle"),
    ("no_resource", None, "SystemExit: 5 in step go"),
    ("no_policy", None, "SystemExit: 7 in step go"),
    ("unwritten", "published", "and keep the rest in ctx.store (in step go)"),
    ("in_thread", "exit", "SystemExit: 3 in step go"),
    ("in_thread", "stop_iteration", "StopIteration in step go"),
    ("in_thread", "cancelled", "CancelledError in step go"),
    ("in_thread", "cancelled_of_asyncio", f"{CANCELLED} in step go"),
    ("reads", None, "KeyError: 'customer' in step read_row"),
]
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ")
FORGED = "x\n2026-01-01 00:00:00,000 CRITICAL workflow_server.server: forged\x1b[2K\r\u2028\x85end"


async def ended(server: DurableServer, workflow: str, **fields: object) -> Json:
    """The handler of a run, when it has ended."""
    async with asyncio.timeout(30):
        return await server.api.finished((await server.api.start(workflow, **fields))["handler_id"])


async def test_what_a_step_raises_is_its_failure_and_the_server_lives(tmp_path: Path) -> None:
    assert set(REASONS) == set(KINDS)
    async with DurableServer(tmp_path, "misbehaving.py", "--grace-period", "1") as server:
        failed = [ended(server, "raises", kind=kind) for kind in REASONS]
        rescued = [ended(server, "rescued", kind=kind) for kind in REASONS]
        others = [ended(server, workflow, kind=kind) for workflow, kind, _ in OTHERS]
        went_on = ended(server, "leaves_behind")
        handlers = await asyncio.gather(*failed, *rescued, *others, went_on)
        for reason in REASONS.values():
            handler = handlers.pop(0)
            assert (handler["status"], handler["error"]) == ("failed", f"{reason} in step go")
        for kind, reason in REASONS.items():
            handler = handlers.pop(0)
            assert handler["status"] == "completed", handler
            told = "unhandled errors in a TaskGroup (1 sub-exception)" if kind == "task_group" else reason
            assert handler["result"]["value"]["result"] == f"go, 2 tries: {told}"
        for _, _, reason in OTHERS:
            handler = handlers.pop(0)
            assert handler["status"] == "failed"
            assert handler["error"].endswith(reason)
        assert handlers.pop()["status"] == "completed"
        assert await server.api.running() == []
        assert await server.stop() == 0


async def test_exits_in_callbacks_and_a_stopped_loop_end_no_command(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "misbehaving.py", "--grace-period", "1") as server:
        for kind in ("callback", "stop"):
            assert (await ended(server, "loop", kind=kind))["status"] == "completed"
        assert await server.stop() == 0


async def test_nothing_that_an_exception_says_begins_a_line_of_the_log(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "misbehaving.py", "--grace-period", "1", "--log-level", "warning") as server:
        handler = await ended(server, "reads", message=FORGED)
        escaped = FORGED.replace("\n", "\\n").replace("\r", "\\r").replace("\x1b", "\\x1b")
        escaped = escaped.replace("\u2028", "\\u2028").replace("\x85", "\\x85")
        assert handler["error"] == f"ValueError: {escaped} in step read_row"
        await ended(server, "in_background", message=FORGED)
        assert await server.stop() == 0
        log = (tmp_path / "server.log").read_text()
    lines = log.split("\n")
    assert sum(f"failed: ValueError: {escaped} in step read_row" in line for line in lines) == 1
    assert sum(line.startswith("  | ValueError: x") for line in lines) >= 2
    assert log.count("forged") >= 4
    for line in lines:
        assert not line or line.startswith("  | ") or RECORD.match(line)
        assert not line.startswith("2026-01-01")
        assert not {"\r", "\x1b", "\u2028", "\x85"} & set(line)
