"""A forked child of a program that serves the application in a runner of its own."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from workflow_server import SqliteWorkflowStore, WorkflowServer
from workflow_server.forking import STRAYED


def in_child(question: Callable[[], bool]) -> bool:
    """Return the answer of a forked child."""
    with warnings.catch_warnings():
        # Later Pythons warn of a fork beside threads: that it happens all the same is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        code = 2
        try:
            code = not question()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1)
    return not code


def opened(descriptor: int) -> Callable[[], bool]:
    """Return a question: is the descriptor a socket?"""
    return lambda: stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def files() -> set[str]:
    """Return the files that are open in this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


async def test_in_a_users_own_runner_a_child_has_nothing_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    server = WorkflowServer(workflow_store=SqliteWorkflowStore(path))
    async with TestClient(TestServer(server.app)) as client:
        assert (await client.get("/health")).status == 200
        assert client.server.runner is not None
        (site,) = client.server.runner.sites
        assert isinstance(site._server, asyncio.Server)
        (listening,) = site._server.sockets
        ours = {f"{path}{end}" for end in ("", "-wal", "-shm", ".lock")}
        assert ours <= files()
        assert in_child(lambda: ours.isdisjoint(files()))
        assert not in_child(opened(listening.fileno()))
        assert opened(listening.fileno())()
        assert (await client.get("/health")).status == 200


async def test_what_is_not_the_servers_is_left_to_the_child(tmp_path: Path) -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with WorkflowServer(workflow_store=SqliteWorkflowStore(tmp_path / "runs.sqlite3")).contextmanager():
        assert in_child(opened(listener.sockets[0].fileno()))
    listener.close()


async def test_after_the_store_is_closed_nothing_is_withheld(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite3"
    store = SqliteWorkflowStore(path)
    await store.open()
    await store.close()
    with path.open("rb"):
        assert in_child(lambda: str(path) in files())


FORKS_AND_RETURNS = """
import asyncio, os, sys
from workflow_server.forking import withhold_loop

async def fork():
    os.fork()

async def note():
    os.write(1, b"server " if os.getpid() == server else b"child ")

async def main():
    tasks = [asyncio.create_task(work) for work in (fork(), note(), note())]
    await asyncio.wait(tasks)
    _, status = os.wait()
    os.write(1, str(os.waitstatus_to_exitcode(status)).encode())

server = os.getpid()
loop = __import__(sys.argv[1]).new_event_loop()
withhold_loop(loop)
loop.run_until_complete(main())
"""


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_a_child_that_comes_back_runs_nothing_of_the_loop(kind: str) -> None:
    pytest.importorskip(kind)
    arguments = [sys.executable, "-W", "ignore", "-c", FORKS_AND_RETURNS, kind]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"server server {STRAYED}"
