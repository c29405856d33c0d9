"""The agents of llama-index-core: their conversation is the same, whatever happened to the server in between."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.test_idle_release import released
from tests.harness.api import Json, Reader
from tests.harness.server_process import DurableServer

AGENTS = ("function_agent", "with_memory", "agent_workflow")
HANDOFF = (
    "Agent second is now handling the request due to the following reason: reason.\n"
    "Please continue with the current request."
)


class Conversation:
    """One handler, with a run for each message."""

    def __init__(self, server: DurableServer, name: str) -> None:
        self.name = name
        self._server = server
        self._handler_id: str | None = None

    async def say(self, message: str) -> None:
        """Start a run, with nothing but the user's message."""
        body: Json = {"start_event": {"user_msg": message}}
        if self._handler_id is not None:
            body["handler_id"] = self._handler_id
        handler = await self._server.api.wants("POST", f"/workflows/{self.name}/run-nowait", body)
        self._handler_id = handler["handler_id"]

    async def asked(self, what: str) -> None:
        """Return when a human is asked."""
        assert self._handler_id is not None
        reader = Reader(self._server.api, self._handler_id)
        await reader.until("Question", what=what)
        await reader.stop()

    async def answer(self, what: str, *, yes: bool) -> None:
        assert self._handler_id is not None
        await self._server.api.send(self._handler_id, "Answer", what=what, yes=yes)

    async def output(self) -> Any:
        """Return the agent's output at the end of the run."""
        assert self._handler_id is not None
        return await self._server.api.result(self._handler_id)

    async def given(self) -> list[str]:
        """Return the model's last input: the user's messages, each followed by the results of its tools. These come in
        the order in which the tools returned, so they are sorted."""
        output = await self.output()
        texts: list[str] = json.loads(output["response"]["blocks"][0]["text"])
        turns: list[list[str]] = []
        for text in texts:
            if text.startswith("turn"):
                turns.append([])
            turns[-1].append(text)
        return [text for turn in turns for text in (turn[0], *sorted(turn[1:]))]


@pytest.mark.slow(20)
async def test_a_conversation_is_the_same_after_kills_and_releases(tmp_path: Path) -> None:
    async with DurableServer(tmp_path, "agents.py", "--idle-timeout", "0.2") as server:
        all_of_them = [Conversation(server, name) for name in AGENTS]

        async def each(what: str, *arguments: Any, **options: Any) -> list[Any]:
            return await asyncio.gather(*(getattr(one, what)(*arguments, **options) for one in all_of_them))

        await each("say", "turn1 !add:a=1:b=2 !note:text=x")
        await each("output")
        await server.restart()

        await each("say", "turn2 !ask:what=refund !note:text=y")
        await each("asked", "refund")
        await server.restart()
        await each("answer", "refund", yes=True)
        await each("output")

        await each("say", "turn3 !fail:why=down !handoff:to_agent=second:reason=reason")
        await each("output")
        await server.restart()

        await each("say", "turn4 !ask:what=again")
        await each("asked", "again")
        await released(server, len(AGENTS))
        await each("answer", "again", yes=False)
        await each("output")

        await each("say", "turn5")
        conversations = dict(zip(AGENTS, await each("given"), strict=True))
        outputs = dict(zip(AGENTS, await each("output"), strict=True))

    expected = {
        name: [
            "turn1 !add:a=1:b=2 !note:text=x",
            "notes x",
            "sum=3",
            "turn2 !ask:what=refund !note:text=y",
            "notes x y",
            "refund True",
            "turn3 !fail:why=down !handoff:to_agent=second:reason=reason",
            HANDOFF if name == "agent_workflow" else "Tool handoff not found. Please select a tool that is available.",
            "down",
            "turn4 !ask:what=again",
            "again False",
            "turn5",
        ]
        for name in AGENTS
    }
    assert conversations == expected
    assert outputs["agent_workflow"]["current_agent_name"] == "second", "the handoff was forgotten"
