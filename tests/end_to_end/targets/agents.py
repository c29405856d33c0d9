"""Agents of llama-index-core whose model answers with all of the conversation that it was given."""

# Without "from __future__ import annotations": llama-index-core knows the context of a tool by its parameter's class.

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "examples"))

from agent_model import AgentModel
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.agent.workflow.workflow_events import AgentInput, AgentWorkflowStartEvent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.memory import Memory
from llama_index.core.tools import BaseTool
from pydantic import BaseModel
from workflows import Context, step
from workflows.events import HumanResponseEvent, InputRequiredEvent


class Question(InputRequiredEvent):
    what: str


class Answer(HumanResponseEvent):
    what: str
    yes: bool


class ToolDown(Exception):
    """Raised by a tool, with something that cannot be kept."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.lock = threading.Lock()


class Sum(BaseModel):
    sum: int


class Echo(AgentModel):
    """Calls the tools that the user's message names, as in ``!add:a=1:b=2``, and else tells what it was given."""

    async def answer(self, messages: Sequence[ChatMessage], tools: Sequence[BaseTool]) -> ChatMessage:
        last = messages[-1]
        words = (last.content or "").split() if last.role == "user" else []
        calls = [_call(word, f"{len(messages)}-{word}") for word in words if word.startswith("!")]
        if calls:
            return ChatMessage(role="assistant", blocks=calls)
        given = [(message.role.value, message.content or "") for message in messages if message.role != "system"]
        return ChatMessage(role="assistant", content=json.dumps([text for role, text in given if role != "assistant"]))


def _call(word: str, call_id: str) -> ToolCallBlock:
    name, *arguments = word.removeprefix("!").split(":")
    parsed = dict(argument.split("=") for argument in arguments)
    return ToolCallBlock(tool_call_id=call_id, tool_name=name, tool_kwargs=parsed)


async def add(a: str, b: str) -> Sum:
    """Add two numbers."""
    return Sum(sum=int(a) + int(b))


async def note(ctx: Context, text: str) -> str:
    """Note a text, in place."""
    if not await ctx.store.get("notes", default=None):
        await ctx.store.set("notes", [])
    notes: list[str] = await ctx.store.get("notes")
    notes.append(text)
    return f"notes {' '.join(notes)}"


async def ask(ctx: Context, what: str) -> str:
    """Ask a human."""
    answer = await ctx.wait_for_event(
        Answer, waiter_event=Question(what=what), requirements={"what": what}, timeout=None
    )
    return f"{what} {answer.yes}"


async def fail(why: str) -> str:
    """Fail."""
    raise ToolDown(why)


TOOLS = [add, note, ask, fail]


class WithMemory(FunctionAgent):
    """An agent whose memory keeps its messages in a database in memory."""

    @step
    async def init_run(self, ctx: Context, ev: AgentWorkflowStartEvent) -> AgentInput:
        if not await ctx.store.get("memory", default=None):
            await ctx.store.set("memory", Memory.from_defaults(session_id="one", token_limit=10_000))
        begun: AgentInput = await super().init_run(ctx, ev)
        return begun


function_agent = FunctionAgent(tools=TOOLS, llm=Echo(), system_prompt="Echo.")
with_memory = WithMemory(tools=TOOLS, llm=Echo(), num_concurrent_runs=1)
agent_workflow = AgentWorkflow(
    agents=[
        FunctionAgent(name="first", description="The first.", tools=TOOLS, llm=Echo()),
        FunctionAgent(name="second", description="The second.", tools=TOOLS, llm=Echo()),
    ],
    root_agent="first",
)
