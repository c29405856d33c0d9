"""Values of llama-index-core that its own copying does not preserve. Imported when one of them turns up.

The memory of an agent holds its conversation in a chat store, and the function that counts its tokens.
"""

from __future__ import annotations

from typing import Any

import tiktoken
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.core.utils import get_tokenizer
from sqlalchemy import make_url

from workflow_server.execution.codec.failures import Unkeepable
from workflow_server.execution.codec.registered import register_type, registered


def _encode_encoding(value: Any) -> Any:
    """Return the name of one of tiktoken's encodings, also of an equal copy, or else the encoding's state."""
    known = tiktoken.registry.ENCODINGS.get(value.name)
    return value.name if known is not None and known.__dict__ is value.__dict__ else value.__getstate__()


def _decode_encoding(told: Any) -> Any:
    if not isinstance(told, str):
        return tiktoken.Encoding(**told)
    if told not in tiktoken.registry.ENCODINGS:
        # llama-index-core ships the file of its encoding, which tiktoken alone would download.
        get_tokenizer()
    return tiktoken.get_encoding(told)


def _encode_chat_store(value: SQLAlchemyChatStore) -> dict[str, Any]:
    """Return the arguments of a store. Messages in memory are part of them; those of a real database stay there."""
    engine = value._async_engine
    told = {name: getattr(value, name) for name in ("table_name", "async_database_uri", "db_schema")}
    if engine is None:
        # Messages that were added before it was opened wait until it is.
        return {**told, "db_data": value._db_data}
    if make_url(value.async_database_uri) != engine.url:
        raise Unkeepable("has its own database engine, which cannot be stored: construct it with async_database_uri")
    return {**told, "db_data": value.model_dump().get("db_data")}


def _decode_chat_store(told: dict[str, Any]) -> SQLAlchemyChatStore:
    return SQLAlchemyChatStore(**told)


def _bring_along(kind: type[Any], encode: Any, decode: Any) -> None:
    """Register a type that its users have not registered."""
    if kind not in registered:
        register_type(kind, encode=encode, decode=decode)


_bring_along(tiktoken.Encoding, _encode_encoding, _decode_encoding)
_bring_along(SQLAlchemyChatStore, _encode_chat_store, _decode_chat_store)
