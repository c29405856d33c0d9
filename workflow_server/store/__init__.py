"""Durable storage: the seam (``abstract``) and its implementation on SQLite."""

from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery, PersistentHandler
from workflow_server.store.sqlite.store import MemoryWorkflowStore, SqliteWorkflowStore

__all__ = ["AbstractWorkflowStore", "HandlerQuery", "MemoryWorkflowStore", "PersistentHandler", "SqliteWorkflowStore"]
