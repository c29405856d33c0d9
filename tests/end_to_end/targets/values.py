"""The workflows that carry every kind of value."""

from __future__ import annotations

from tests.values.carrying import workflows
from workflow_server import WorkflowServer

server = WorkflowServer()
for name, workflow in workflows():
    server.add_workflow(name, workflow)
