"""Durable storage: the contract (``base``), group commit for any database, and SQLite as the one database."""

from workflow_server.store.base import AbstractWorkflowStore, HandlerQuery, PersistentHandler
from workflow_server.store.sqlite.store import MemoryWorkflowStore, SqliteWorkflowStore

__all__ = ["AbstractWorkflowStore", "HandlerQuery", "MemoryWorkflowStore", "PersistentHandler", "SqliteWorkflowStore"]
