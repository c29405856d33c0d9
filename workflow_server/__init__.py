"""A durable, self-hosted server for llama-index-workflows: aiohttp, SQLite, one process, one file."""

from workflow_server.runtime.codec import register_type
from workflow_server.runtime.engine import idempotency_key
from workflow_server.server import WorkflowServer
from workflow_server.settings import Settings
from workflow_server.store.abstract import AbstractWorkflowStore, HandlerQuery, PersistentHandler
from workflow_server.store.sqlite import MemoryWorkflowStore, SqliteWorkflowStore

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
