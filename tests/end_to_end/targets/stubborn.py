"""Steps that would keep the process from ending; run as a program, it serves them itself (PORT and DB as arguments)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

from workflow_server import SqliteWorkflowStore, WorkflowServer

FOREVER = 300.0


async def swallow() -> None:
    """Heed no cancellation."""
    while True:
        try:
            await asyncio.sleep(FOREVER)
        except BaseException:
            continue


def spin() -> None:
    """Keep the interpreter busy."""
    while True:
        pass


def wait_for_a_lock() -> None:
    """Wait for what never comes."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


class Stubborn(Workflow):
    """A step that says that it has begun, and does not end."""

    @step
    async def say(self, ctx: Context, ev: StartEvent) -> Event:
        """Publish what the test waits for."""
        ctx.write_event_to_stream(Event(kind=ev.get("kind")))
        return Event(kind=ev.get("kind"))

    @step
    async def stand(self, ev: Event) -> StopEvent:
        """Do not end."""
        kind = ev.get("kind")
        if kind == "swallow":
            await swallow()
        elif kind == "sleep":
            time.sleep(FOREVER)  # noqa: ASYNC251 it blocks
        elif kind == "spin":
            spin()
        elif kind == "lock":
            wait_for_a_lock()
        elif kind == "to_thread":
            await asyncio.to_thread(time.sleep, FOREVER)
        elif kind == "task":
            self.task = asyncio.create_task(swallow(), name="a task of a step")
        elif kind == "thread":
            threading.Thread(target=time.sleep, args=(FOREVER,), name="a thread of a step").start()
        elif kind == "pool":
            ThreadPoolExecutor().submit(time.sleep, FOREVER)
        return StopEvent(result=kind)


class Forks(Workflow):
    """A step that forks a child and ends it."""

    @step
    async def fork(self, ev: StartEvent) -> StopEvent:
        """Return the signal that the child died of."""
        child = os.fork()
        if not child:
            time.sleep(FOREVER)  # noqa: ASYNC251 in a process of its own
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        return StopEvent(result=os.WTERMSIG(status))


stubborn = Stubborn(timeout=None)
forks = Forks(timeout=None)


async def main(port: int, db: str) -> None:
    """Serve until a signal comes."""
    server = WorkflowServer(workflow_store=SqliteWorkflowStore(db))
    server.add_workflow("stubborn", stubborn)
    server.add_workflow("forks", forks)
    await server.serve("127.0.0.1", port, announce=lambda line: print(line, flush=True))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
