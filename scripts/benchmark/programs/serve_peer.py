"""Serves the workflows of flows.py with the server of a peer, in the peer's own environment.

``serve_peer.py MODULE STORE DATABASE``: MODULE has the class WorkflowServer, STORE its SqliteWorkflowStore. It prints
the line that this project's own command prints.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys


async def main(module: str, store: str, database: str) -> None:
    """Serve until SIGTERM."""
    uvicorn = importlib.import_module("uvicorn")
    sqlite = importlib.import_module(store).SqliteWorkflowStore(database)
    server = importlib.import_module(module).WorkflowServer(workflow_store=sqlite)
    for name, workflow in importlib.import_module("flows").all_workflows():
        server.add_workflow(name, workflow)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await uvicorn.Server(uvicorn.Config(server.app, log_level="error")).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
