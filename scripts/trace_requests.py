"""Count the functions and modules of workflow_server that one request of each kind enters, and a start with one run.

Each request was made once before it is traced. A trace lasts from the request to its answer, on the event loop's thread
and on the store's. The run's own tasks, which work at the same time, are left out unless they are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from aiohttp import ClientSession, web
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

import workflow_server
from workflow_server.execution.engine import get_current_run_id
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store import SqliteWorkflowStore

PACKAGE = f"{Path(workflow_server.__file__).parent}/"
QUIET = 0.3
"""Seconds before each trace, in which what was set going before comes to rest."""


class Ask(Workflow):
    """Asks, and ends with the answer."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
        return StopEvent(result=answer.response)


class Trace:
    """The functions that are entered while it is on, by module; a profile function of the interpreter."""

    def __init__(self, *, with_runs: bool) -> None:
        self.functions: defaultdict[str, set[str]] = defaultdict(set)
        self.on = False
        self._with_runs = with_runs

    def __call__(self, frame: FrameType, kind: str, _: object) -> None:
        code = frame.f_code
        if self.on and kind == "call" and code.co_filename.startswith(PACKAGE) and (self._with_runs or not in_run()):
            module = code.co_filename.removeprefix(PACKAGE).removesuffix(".py").removesuffix("/__init__")
            self.functions[module].add(code.co_qualname)

    async def of(self, work: Callable[[], Awaitable[object]]) -> dict[str, set[str]]:
        """Return what the work enters."""
        await asyncio.sleep(QUIET)
        self.functions.clear()
        self.on = True
        await work()
        self.on = False
        return dict(self.functions)


def in_run() -> bool:
    """Return whether a run does this, and not the request that started or changed it."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return get_current_run_id() is not None or (task is not None and task.get_name().startswith("run "))


async def main(*, with_runs: bool) -> dict[str, dict[str, set[str]]]:
    """Return the functions by module, for each kind of request."""
    trace = Trace(with_runs=with_runs)
    threading.setprofile(trace)
    sys.setprofile(trace)
    with tempfile.TemporaryDirectory() as folder:
        try:
            async with serving(Path(folder)) as client:
                await requests(client, trace)
                found = await requests(client, trace)
                await started(client)
            resuming = server(Path(folder))
            found["resume"] = await trace.of(resuming.start)
            await resuming.stop()
            return found
        finally:
            sys.setprofile(None)


def server(folder: Path) -> WorkflowServer:
    """A server of the workflow, on a file in this folder."""
    made = WorkflowServer(workflow_store=SqliteWorkflowStore(folder / "db.sqlite3"), settings=Settings(grace_period=1))
    made.add_workflow("ask", Ask(timeout=None))
    return made


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[ClientSession]:
    """Yield a client of a server."""
    runner = web.AppRunner(server(folder).app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with ClientSession(f"http://{host}:{port}", raise_for_status=True) as client:
            yield client
    finally:
        await runner.cleanup()


async def requests(client: ClientSession, trace: Trace) -> dict[str, dict[str, set[str]]]:
    """Make one request of each kind."""
    asking, over = await started(client), await started(client)
    event = {"event": {"type": "HumanResponseEvent", "value": {"response": "yes"}}}
    return {
        "POST run-nowait": await trace.of(lambda: started(client)),
        "POST event": await trace.of(lambda: posted(client, f"/events/{asking}", event)),
        "cancel": await trace.of(lambda: posted(client, f"/handlers/{over}/cancel", None)),
        "GET events": await trace.of(lambda: read(client, f"/events/{asking}")),
    }


async def started(client: ClientSession) -> str:
    """Start a run; returns its handler."""
    return str((await posted(client, "/workflows/ask/run-nowait", {}))["handler_id"])


async def posted(client: ClientSession, path: str, body: Any) -> Any:
    """Return the JSON that a POST is answered with."""
    async with client.post(path, json=body) as answer:
        return await answer.json()


async def read(client: ClientSession, path: str) -> None:
    """Read an answer to its end."""
    async with client.get(path) as answer:
        await answer.read()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", action="store_true", help="list the functions")
    parser.add_argument("--with-runs", action="store_true", help="count what runs do in tasks of their own, too")
    arguments = parser.parse_args()
    for kind, modules in asyncio.run(main(with_runs=arguments.with_runs)).items():
        print(f"{kind:16} {sum(map(len, modules.values())):4} functions in {len(modules):2} modules")
        for module in sorted(modules) if arguments.names else ():
            print(f"    {module:32} {' '.join(sorted(modules[module]))}")
