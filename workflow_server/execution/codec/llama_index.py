"""Values of llama-index-core that its own ways of copying do not keep. Imported when one of them turns up.

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
    """The name of one of tiktoken's encodings, also of a copy of it, which is another object with the same state; the
    state of any other."""
    known = tiktoken.registry.ENCODINGS.get(value.name)
    return value.name if known is not None and known.__dict__ is value.__dict__ else value.__getstate__()


def _decode_encoding(told: Any) -> Any:
    if not isinstance(told, str):
        return tiktoken.Encoding(**told)
    if told not in tiktoken.registry.ENCODINGS:
        # llama-index-core brings the file of its encoding along, which tiktoken alone would fetch from the network.
        get_tokenizer()
    return tiktoken.get_encoding(told)


def _encode_chat_store(value: SQLAlchemyChatStore) -> dict[str, Any]:
    """Return what a store is made with. The messages of one that is in memory are part of it; those of any other stay
    in its database."""
    engine = value._async_engine
    told = {name: getattr(value, name) for name in ("table_name", "async_database_uri", "db_schema")}
    if engine is None:
        # Messages that were given to it wait until it is opened.
        return {**told, "db_data": value._db_data}
    if make_url(value.async_database_uri) != engine.url:
        raise Unkeepable("has an engine of its own, which cannot be made again: give it async_database_uri")
    return {**told, "db_data": value.model_dump().get("db_data")}


def _decode_chat_store(told: dict[str, Any]) -> SQLAlchemyChatStore:
    return SQLAlchemyChatStore(**told)


def _bring_along(kind: type[Any], encode: Any, decode: Any) -> None:
    """Register a type that its users have not registered."""
    if kind not in registered:
        register_type(kind, encode=encode, decode=decode)


_bring_along(tiktoken.Encoding, _encode_encoding, _decode_encoding)
_bring_along(SQLAlchemyChatStore, _encode_chat_store, _decode_chat_store)
