"""Values of llama-index-core that its own ways of copying would lose."""

from __future__ import annotations

import copy
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.memory import (
    BaseMemory,
    BaseMemoryBlock,
    ChatMemoryBuffer,
    ChatSummaryMemoryBuffer,
    FactExtractionMemoryBlock,
    Memory,
    SimpleComposableMemory,
    StaticMemoryBlock,
    VectorMemory,
)
from llama_index.core.schema import BaseComponent
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.core.tools import ToolOutput
from llama_index.core.utils import get_tokenizer
from pydantic import PrivateAttr
from sqlalchemy.ext.asyncio import create_async_engine

from workflow_server.errors import Unstorable
from workflow_server.execution.codec import Codec

USER = ChatMessage(role="user", content="Where is my order?")
ASSISTANT = ChatMessage(role="assistant", content="On its way.", additional_kwargs={"id": 7})


@pytest.fixture
def codec() -> Codec:
    return Codec()


async def close(*values: Memory | SQLAlchemyChatStore | BaseMemory) -> None:
    """Close their databases, which the library leaves to the garbage collector."""
    for value in values:
        store = value.sql_store if isinstance(value, Memory) else value
        if isinstance(store, SQLAlchemyChatStore) and store._async_engine is not None:
            await store._async_engine.dispose()


def test_the_counter_of_tokens_is_kept_by_its_name(codec: Codec) -> None:
    text = codec.dumps(get_tokenizer())
    assert len(text) < 1_000, "the table of its tokens was written"
    assert codec.loads(text)("Where is my order?") == get_tokenizer()("Where is my order?")


def test_a_copy_of_an_encoding_is_kept_by_its_name_too(codec: Codec) -> None:
    encoding = get_tokenizer().func.__self__  # type: ignore[attr-defined]
    assert codec.loads(codec.dumps(copy.deepcopy(encoding))) is encoding


@pytest.mark.parametrize(
    "memory",
    [
        ChatMemoryBuffer.from_defaults(token_limit=100),
        ChatSummaryMemoryBuffer.from_defaults(llm=MockLLM(), token_limit=100),
        SimpleComposableMemory.from_defaults(primary_memory=ChatMemoryBuffer.from_defaults(token_limit=100)),
        Memory.from_defaults(token_limit=100, session_id="one"),
        Memory.from_defaults(
            token_limit=100,
            memory_blocks=[
                StaticMemoryBlock(name="profile", static_content="Speaks Welsh."),
                FactExtractionMemoryBlock(llm=MockLLM(), facts=["likes tea"]),
            ],
        ),
    ],
    ids=["buffer", "summary", "composable", "memory", "blocks"],
)
async def test_a_memory_holds_its_conversation_each_time_it_is_kept(codec: Codec, memory: BaseMemory) -> None:
    for message in (USER, ASSISTANT):
        await memory.aput(message)
    before = await memory.aget()

    once = codec.dumps(memory)
    again = codec.dumps(codec.loads(once))
    kept = codec.loads(again)

    assert again == once
    assert type(kept) is type(memory)
    assert await kept.aget() == before
    await kept.aput(USER)
    last = codec.loads(codec.dumps(kept))
    assert await last.aget_all() == [USER, ASSISTANT, USER]
    assert await memory.aget_all() == [USER, ASSISTANT], "the copy shares the conversation of the original"
    await close(memory, kept, last)


async def test_archived_messages_are_kept_with_their_status(codec: Codec) -> None:
    store = SQLAlchemyChatStore(table_name="messages")
    await store.add_messages("key", [USER, ASSISTANT])
    await store.archive_oldest_messages("key", n=1)

    kept = codec.loads(codec.dumps(store))

    assert await kept.get_messages("key", status=MessageStatus.ARCHIVED) == [USER]
    assert await kept.get_messages("key") == [ASSISTANT]
    await close(store, kept)


async def test_messages_in_a_database_of_their_own_stay_there(codec: Codec, tmp_path: Path) -> None:
    store = SQLAlchemyChatStore(table_name="messages", async_database_uri=f"sqlite+aiosqlite:///{tmp_path}/chat.db")
    await store.add_message("key", USER)

    text = codec.dumps(store)

    kept = codec.loads(text)
    assert "Where is my order?" not in text
    assert await kept.get_messages("key") == [USER]
    await close(store, kept)


async def test_a_chat_store_with_an_engine_of_its_own_is_refused_by_name(codec: Codec, tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/chat.db")
    memory = Memory.from_defaults(async_engine=engine)
    with pytest.raises(Unstorable, match=r"sql_store cannot be stored: .*with async_database_uri"):
        codec.dumps(memory)


class Searching(BaseComponent):
    _client: Any = PrivateAttr(default=None)

    @classmethod
    def connected(cls) -> Searching:
        component = cls()
        component._client = threading.Lock()
        return component


class Recalling(BaseMemoryBlock[str]):
    """A memory block with a client, which cannot be pickled; ``BaseComponent`` leaves such things out."""

    component: Searching

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> str:
        return ""

    async def _aput(self, messages: list[ChatMessage]) -> None:
        return None


def test_a_component_that_cannot_be_kept_whole_is_refused_by_name(codec: Codec) -> None:
    memory = Memory.from_defaults(memory_blocks=[Recalling(name="recall", component=Searching.connected())])
    with pytest.raises(Unstorable, match=r"_client cannot be stored: it is of type _thread\.lock"):
        codec.dumps(memory)


async def test_a_component_that_makes_anew_what_it_leaves_out_is_kept(codec: Codec) -> None:
    memory = VectorMemory.from_defaults(embed_model=MockEmbedding(embed_dim=3))
    memory.put(USER)
    kept = codec.loads(codec.dumps(memory))
    assert [message.content for message in kept.get("order")] == [USER.content]


class ToolDown(Exception):
    def __init__(self, code: int, lock: object) -> None:
        super().__init__(code)
        self.code = code
        self.lock = lock


@pytest.mark.parametrize("lock", [None, threading.Lock()])
def test_a_failed_tool_is_told_though_its_exception_is_not_kept(codec: Codec, lock: object) -> None:
    output = ToolOutput("tool", content="down", raw_input={"a": 1}, exception=ToolDown(7, lock))

    kept = codec.loads(codec.dumps(output))

    assert (kept.model_dump(), kept.blocks) == (output.model_dump(), [TextBlock(text="down")])
    assert "7" in str(kept.exception)
    assert lock or kept.exception.code == 7


def test_the_server_imports_nothing_of_it_without_need() -> None:
    code = (
        "import sys; from workflow_server import server; from workflow_server.execution.codec import Codec\n"
        "import fractions; Codec().dumps([fractions.Fraction(1, 3), RuntimeError('x')])\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('llama_index', 'tiktoken', 'sqlalchemy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
