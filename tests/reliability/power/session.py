"""A server and its clients in one process, which is recorded: ``python -m tests.reliability.power.session FOLDER …``.

Whatever is told to a client is noted in the file ``acknowledged`` of the same folder, so that the recording holds it
in order with what was written. Each transaction is noted, too, with the digest of what the database holds then.
Thresholds of checkpoints and snapshots are smaller than the server's own: a short session is to meet all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import aiohttp

from tests.reliability.power.clients import Clients
from tests.reliability.power.contents import digest, read_contents
from tests.reliability.targets.power_flows import WORKFLOWS, Answer, Chain
from tests.store.fault_injection import HookedStore, Lifecycle, Written, on_write_connection
from workflow_server.execution import writer
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store import PersistentHandler, SqliteWorkflowStore
from workflow_server.store.sqlite import checkpoint
from workflow_server.store.sqlite import open as opening

DATABASE = "runs.sqlite3"
MARKS = "acknowledged"

COMMITS = 40
LOG_SIZE = 160 * 1024
SNAPSHOT_TICKS = 12


class Marks:
    """The notes."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / MARKS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __call__(self, kind: str, **fields: object) -> None:
        os.write(self._file, json.dumps({"kind": kind, **fields}).encode() + b"\n")


class NotingStore(HookedStore):
    """The server's store; it notes its life and its commits. ``synchronous`` replaces, behind the server's back, what
    the server has set."""

    def __init__(self, path: Path, marks: Marks, synchronous: str | None = None) -> None:
        super().__init__(path)
        self._file = path
        self._marks = marks
        self._synchronous = synchronous

    async def open(self) -> None:
        self._marks("opening")
        await super().open()
        if self._synchronous is not None:
            pragma = f"PRAGMA synchronous = {self._synchronous}"
            await on_write_connection(self, lambda sqlite: sqlite.execute(pragma))
        self._marks("opened", digest=self._digest())
        self.hook = self._note

    async def close(self) -> None:
        self._marks("closing")
        await super().close()
        self._marks("closed")

    def _note(self, moment: str, records: Sequence[Written]) -> None:
        # What opening and closing write is told by the marks of opening and closing.
        if moment == "after commit" and not isinstance(records[0], Lifecycle):
            # On the writer's thread: nobody has been told of the commit yet, and no other can come in between.
            kinds = sorted({type(record).__name__ for record in records})
            self._marks("commit", digest=self._digest(), kinds=kinds)

    def _digest(self) -> str:
        # Opened for each look: a connection that stays would be the last one, and would fold back the log.
        with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=rw", uri=True)) as connection:
            return digest(read_contents(connection))


def made_server(store: SqliteWorkflowStore) -> WorkflowServer:
    """A server of the session's workflows."""
    # Environment variables are not asked for: the session is the same everywhere.
    server = WorkflowServer(workflow_store=store, settings=Settings(idle_timeout=0.1, grace_period=2.0))
    for name, kind in WORKFLOWS.items():
        server.add_workflow(name, kind(timeout=None), additional_events=[Answer])
    return server


async def serve(folder: Path, *, life: int, rounds: int, synchronous: str | None, killed: bool) -> None:
    """One life of the server: it starts, takes up what is there, serves its clients and ends, or is killed."""
    marks = Marks(folder)
    store = NotingStore(folder / DATABASE, marks, synchronous)
    server = made_server(store)
    listening: asyncio.Queue[str] = asyncio.Queue()
    serving = asyncio.create_task(server.serve("127.0.0.1", 0, announce=listening.put_nowait), name="serve")
    line = await listening.get()
    async with aiohttp.ClientSession() as session:
        clients = Clients(session, line.split()[-1], marks, life=life)
        await give(store, marks, f"given-{life}")
        for _ in range(rounds):
            await clients.work()
        clients.halfway.clear()
        working = asyncio.create_task(clients.work(leave=True), name="the last round")
        await clients.halfway.wait()
        if killed:
            # On the writer's thread, which marks each commit: none is there that was not marked.
            await on_write_connection(store, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        await working
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


async def give(store: SqliteWorkflowStore, marks: Marks, name: str) -> None:
    """Do what only the Python API can: give a handler and its state as a whole."""
    await store.update(
        PersistentHandler(handler_id=name, workflow_name="chain", status="completed", ctx={"state": {"of": f"{name}!"}})
    )
    marks("kept", handler=name, facts=[name, f"{name}!"])


async def recover(folders: Sequence[Path]) -> None:
    """Start on what power cuts left in each folder, let the runs go on a little, and stop."""
    for left in folders:
        store = NotingStore(left / DATABASE, Marks(left))
        server = made_server(store)
        await server.start()
        await asyncio.sleep(0.02)
        await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--life", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--synchronous")
    parser.add_argument("--killed", action="store_true")
    parser.add_argument("--recover", action="store_true")
    options = parser.parse_args()
    checkpoint.COMMITS = COMMITS
    for module in (checkpoint, opening):
        vars(module)["JOURNAL_SIZE_LIMIT"] = LOG_SIZE
    # Longer than it takes to get to the kill, and shorter than the grace period.
    Chain.pause = 0.8
    writer.SNAPSHOT_TICKS = writer.STATE_PATCHES = SNAPSHOT_TICKS
    folder = options.folder.resolve()
    if options.recover:
        asyncio.run(recover(sorted(folder.iterdir())))
        return
    asyncio.run(
        serve(
            folder,
            life=options.life,
            rounds=options.rounds,
            synchronous=options.synchronous,
            killed=options.killed,
        )
    )


if __name__ == "__main__":
    main()
