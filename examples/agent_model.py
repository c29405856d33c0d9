"""The agent's language model: one that plays a script, or a real one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from chat_model import ChatModel
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, LLMMetadata, ToolCallBlock
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import BaseTool, ToolSelection

NUMBER = re.compile(r"\b1\d{3}\b")
"""An order number, as the scripted model recognizes it."""


class AgentModel(FunctionCallingLLM):
    """Answers a conversation with text or with tool calls; agents need nothing else."""

    @abstractmethod
    async def answer(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatMessage:
        """Return the next message."""

    @property
    def metadata(self) -> LLMMetadata:
        """The limits and abilities of the model."""
        return LLMMetadata(context_window=32_000, is_chat_model=True, is_function_calling_model=True)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return the next message, with the tools that ``_prepare_chat_with_tools`` was given."""
        return ChatResponse(message=await self.answer(messages, kwargs.get("tools", ())))

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Return the next message, in one piece."""
        response = await self.achat(messages, **kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            yield response.model_copy(update={"delta": response.message.content or ""})

        return pieces()

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002
        allow_parallel_tool_calls: bool = False,  # noqa: ARG002
        tool_required: bool = False,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, Any]:
        asked = [ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg]
        return {"messages": [*(chat_history or ()), *(message for message in asked if message)], "tools": tools}

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> list[ToolSelection]:
        """Return the tool calls in an answer."""
        return [
            ToolSelection(tool_id=call.tool_call_id or call.tool_name, tool_name=call.tool_name, tool_kwargs=arguments)
            for call in _calls(response.message)
            if isinstance(arguments := call.tool_kwargs, dict)
        ]

    # Agents call none of these, but they are abstract in FunctionCallingLLM, and no base class derives them from achat.

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Not offered."""
        raise NotImplementedError


class ScriptedModel(AgentModel):
    """Plays the part of a model at the order desk, word for word the same each time and without a network.

    It knows only the conversation that it is given: everything it remembers is in the agent's memory.
    """

    async def answer(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatMessage:  # noqa: ARG002
        """Look up the order that is asked about, refund it where that is asked for, and report what the tools said."""
        last = messages[-1]
        if last.role == "tool":
            return ChatMessage(role="assistant", content=" ".join(_latest_results(messages)))
        asked = [message.content or "" for message in messages if message.role == "user"]
        numbers = NUMBER.findall(" ".join(asked))
        if "remember" in asked[-1]:
            words = f"You wrote {len(asked)} messages, about order {' and '.join(dict.fromkeys(numbers))}."
            return ChatMessage(role="assistant", content=words)
        if not numbers:
            return ChatMessage(role="assistant", content="Which order is it about?")
        names = ["refund"] if "refund" in asked[-1] else ["find_order", "track_parcel"]
        return ChatMessage(
            role="assistant",
            blocks=[
                ToolCallBlock(
                    tool_call_id=f"{len(messages)}-{name}", tool_name=name, tool_kwargs={"order": numbers[-1]}
                )
                for name in names
            ],
        )


class OpenAIModel(AgentModel):
    """A model behind an OpenAI-compatible endpoint."""

    endpoint: ChatModel

    async def answer(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatMessage:
        """Ask the model.

        Raises:
            ModelUnavailableError: it gave no answer.
        """
        options = {"tools": [tool.metadata.to_openai_tool() for tool in tools]} if tools else {}
        answer = await self.endpoint.chat([_to_openai(message) for message in messages], **options)
        calls = [
            ToolCallBlock(
                tool_call_id=call.id,
                tool_name=call.function.name,
                # Arguments that are not valid JSON are reported to the model as missing.
                tool_kwargs=_arguments(call.function.arguments),
            )
            for call in answer.tool_calls or ()
        ]
        message = ChatMessage(role="assistant", content=answer.content or "")
        message.blocks = [*(message.blocks if answer.content else ()), *calls]
        return message


def model_from_environment() -> AgentModel:
    """Return the model that OPENAI_BASE_URL and OPENAI_API_KEY name, or else the scripted one."""
    endpoint = ChatModel.from_environment()
    return ScriptedModel() if endpoint is None else OpenAIModel(endpoint=endpoint)


def _calls(message: ChatMessage) -> list[ToolCallBlock]:
    return [block for block in message.blocks if isinstance(block, ToolCallBlock)]


def _latest_results(messages: Sequence[ChatMessage]) -> list[str]:
    """Return the results of the last tool calls, in the order of the tools' names."""
    called = max(index for index, message in enumerate(messages) if _calls(message))
    by_call = {message.additional_kwargs["tool_call_id"]: message.content or "" for message in messages[called + 1 :]}
    return [by_call[key] for key in sorted(by_call)]


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def _to_openai(message: ChatMessage) -> dict[str, Any]:
    converted: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
    if "tool_call_id" in message.additional_kwargs and message.role == "tool":
        converted["tool_call_id"] = message.additional_kwargs["tool_call_id"]
    if calls := list(_openai_calls(_calls(message))):
        converted["tool_calls"] = calls
    return converted


def _openai_calls(calls: Iterable[ToolCallBlock]) -> Iterable[dict[str, Any]]:
    for call in calls:
        function = {"name": call.tool_name, "arguments": json.dumps(call.tool_kwargs)}
        yield {"id": call.tool_call_id, "type": "function", "function": function}
