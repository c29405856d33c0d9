"""A chat model behind an OpenAI-compatible endpoint, where the environment names one."""

from __future__ import annotations

import os

import aiohttp
from pydantic import BaseModel, Field

TIMEOUT = aiohttp.ClientTimeout(total=60)


class ModelUnavailableError(Exception):
    """The model gave no answer; another try may help."""


class ChatModel(BaseModel):
    """Where the model is and how to ask it."""

    base_url: str
    api_key: str = Field(repr=False)
    model: str

    @classmethod
    def from_environment(cls) -> ChatModel | None:
        """The model that OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL name; None without the first two."""
        base_url, api_key = os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY")
        if not base_url or not api_key:
            return None
        return cls(base_url=base_url.rstrip("/"), api_key=api_key, model=os.environ.get("OPENAI_MODEL", "gpt-4o-mini"))

    async def ask(self, instruction: str, text: str) -> str:
        """The model's answer.

        Raises:
            ModelUnavailableError: no connection, no answer within a minute, or an answer that is none.
        """
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "system", "content": instruction}, {"role": "user", "content": text}],
        }
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
        return answer.choices[0].message.content.strip()


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
