"""A chat model behind an OpenAI-compatible endpoint, if the environment names one."""

from __future__ import annotations

import os
from typing import Any

import aiohttp
from pydantic import BaseModel, Field

TIMEOUT = aiohttp.ClientTimeout(total=60)


class ModelUnavailableError(Exception):
    """The model gave no answer; another try may help."""


class ChatModel(BaseModel):
    """Address, key and name of a chat model."""

    base_url: str
    api_key: str = Field(repr=False)
    model: str

    @classmethod
    def from_environment(cls) -> ChatModel | None:
        """Return the model that OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL name; None without the first two."""
        base_url, api_key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        if not base_url or not api_key:
            return None
        return cls(base_url=base_url.rstrip("/"), api_key=api_key, model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))

    async def ask(self, instruction: str, text: str) -> str:
        """Return the model's answer.

        Raises:
            ModelUnavailableError: no connection, no answer within a minute, or an answer without text.
        """
        messages = [{"role": "system", "content": instruction}, {"role": "user", "content": text}]
        answer = await self.chat(messages)
        if not answer.content:
            raise ModelUnavailableError("no text from the chat model")
        return answer.content.strip()

    async def chat(self, messages: list[dict[str, Any]], **options: Any) -> Message:
        """Return the model's next message, text or tool calls; ``options`` go into the request.

        Raises:
            ModelUnavailableError: see ``ask``.
        """
        body = {"model": self.model, "temperature": 0, "messages": messages, **options}
        try:
            async with (
                aiohttp.ClientSession(timeout=TIMEOUT) as session,
                session.post(
                    f"{self.base_url}/chat/completions",
                    json=body,
                    headers={"Authorization": f"Bearer {self.api_key}"},
                ) as response,
            ):
                response.raise_for_status()
                answer = _Answer.model_validate(await response.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ModelUnavailableError(f"{type(error).__name__} from the chat model") from error
        return answer.choices[0].message


class Function(BaseModel):
    """The function that a call names, and its arguments as a JSON text."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call of a tool."""

    id: str
    function: Function


class Message(BaseModel):
    """The answer of the model."""

    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class _Choice(BaseModel):
    message: Message


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
