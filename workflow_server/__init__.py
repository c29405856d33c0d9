"""A durable, self-hosted server for llama-index-workflows: aiohttp, SQLite, one process, one file."""

from workflow_server.execution.codec import register_type
from workflow_server.execution.engine import idempotency_key
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery, PersistentHandler
from workflow_server.store.sqlite.store import MemoryWorkflowStore, SqliteWorkflowStore

__all__ = [
    "AbstractWorkflowStore",
    "HandlerQuery",
    "MemoryWorkflowStore",
    "PersistentHandler",
    "Settings",
    "SqliteWorkflowStore",
    "WorkflowServer",
    "idempotency_key",
    "register_type",
]
