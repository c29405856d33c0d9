"""File descriptors: connections never take the last of them."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.harness.plain_http import get_json
from workflow_server.web.http_server.descriptors import RESERVED, connections_under

FLOW = """
from workflows import Workflow, step
from workflows.events import StartEvent, StopEvent

class Flow(Workflow):
    @step
    async def only(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=1)

flow = Flow()
"""


@pytest.mark.parametrize("files", [16, 70, 256, 1_024, 20_000, 1_000_000])
def test_some_descriptors_are_left_to_the_store_and_the_steps(files: int) -> None:
    connections = connections_under(files)
    assert 0 < connections <= files - files // 4
    assert files < 3 * RESERVED or files - connections >= RESERVED


def test_more_idle_connections_than_descriptors_stop_nobody(tmp_path: Path, start_server: StartServer) -> None:
    flows = tmp_path / "flows_for_limits.py"
    flows.write_text(FLOW)
    limited = ("sh", "-c", 'ulimit -Sn 150; ulimit -Hn 300; exec "$0" -m workflow_server "$@"', sys.executable)
    server = start_server(flows, command=limited)
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5] == [
        "300",
        "300",
    ]
    kept = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    kept.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert kept.recv(1_000).startswith(b"HTTP/1.1 200")
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(500)]
    for _ in range(3):
        kept.sendall(b"POST /workflows/flow/run HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert json.loads(kept.recv(10_000).partition(b"\r\n\r\n")[2])["status"] == "completed"
    for connection in crowd:
        connection.close()
    kept.close()
    assert get_json(f"{server.url}/health") == {"status": "healthy"}
    log = server.log.read_text()
    assert "max_streams=1000" in log
    assert "out of system resource" not in log
    assert len(log.splitlines()) < 10, log
