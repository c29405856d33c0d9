"""The agent at the order desk: on the engine alone, and served, killed, released and continued."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_model import OpenAIModel, ScriptedModel, model_from_environment
from aiohttp import web
from chat_model import ModelUnavailableError
from llama_index.core.agent.workflow import AgentOutput
from llama_index.core.memory import ChatMemoryBuffer

from tests.conftest import ServerProcess, StartServer
from tests.examples.endpoint import chat_endpoint
from tests.examples.test_served import run_docstring, stream
from tests.harness.plain_http import get_json, post_json
from tests.harness.waiting import until_stored

with warnings.catch_warnings():
    # Of an agent, which is a pydantic model, the engine looks at every attribute, also at those that are deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import agent

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory, below which the ledger of refunds is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refunds(folder: Path) -> list[str]:
    ledger = folder / "data/refunds.ndjson"
    return [json.loads(line)["reference"] for line in ledger.read_text().splitlines()] if ledger.exists() else []


# -- Served ------------------------------------------------------------------------------------


class Desk:
    """One conversation with a served agent."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.handler: dict[str, str] = {}

    def say(self, message: str) -> None:
        """Start a run, with nothing but the user's message."""
        body = {**self.handler, "start_event": {"user_msg": message}}
        answer = post_json(f"{self.server.url}/workflows/agent/run-nowait", body)
        self.handler = {"handler_id": answer["handler_id"]}

    def asked(self) -> dict[str, Any]:
        """Return the question to a human."""
        events = stream(self.server.url, self.handler["handler_id"])
        return next(event["value"] for event in events if event["type"] == "ApprovalRequested")

    def answer(self, order: str, *, approved: bool) -> None:
        event = {"type": "Approval", "value": {"order": order, "approved": approved, "reviewer": "Ada"}}
        post_json(f"{self.server.url}/events/{self.handler['handler_id']}", {"event": event})

    def reply(self) -> str:
        """Return the agent's reply at the end of the run."""
        *_, last = stream(self.server.url, self.handler["handler_id"])
        assert last["type"] == "StopEvent", last
        return str(last["value"]["result"]["response"]["blocks"][0]["text"])


@pytest.mark.slow
def test_a_conversation_goes_on_after_kills_and_the_human_decides(
    root: Path, start_server: StartServer, tmp_path: Path
) -> None:
    desk = Desk(start_server(root / "examples/agent.py"))

    def kill() -> None:
        desk.server.kill()
        desk.server = start_server(root / "examples/agent.py")

    desk.say("Where is order 1042?")
    assert desk.reply() == "Order 1042 is electric kettle for 48.00. It is delivered on 3 March."
    desk.say("It arrived broken. A refund, please.")
    assert desk.asked() == {
        "question": "Refund 48.00 for order 1042 (electric kettle)? Answer with an Approval event.",
        "order": "1042",
    }
    kill()
    desk.answer("1042", approved=True)
    assert desk.reply() == "48.00 for order 1042 is refunded, approved by Ada."
    desk.say("And a refund for 1043.")
    desk.asked()
    kill()
    desk.answer("1042", approved=True)
    desk.answer("1043", approved=False)
    assert desk.reply() == "Ada did not approve a refund of order 1043."
    desk.say("What do you remember?")
    assert desk.reply() == "You wrote 4 messages, about order 1042 and 1043."
    assert refunds(tmp_path) == ["refund/1042"]


def test_a_conversation_goes_on_after_the_run_has_left_memory(
    root: Path, start_server: StartServer, tmp_path: Path
) -> None:
    desk = Desk(start_server(root / "examples/agent.py", "--idle-timeout", "0.1"))
    for number, order in enumerate(("1042", "1042", "1044"), start=1):
        desk.say(f"A refund for {order}, please.")
        desk.asked()
        wait_until_released(tmp_path / "db.sqlite3")
        desk.answer(order, approved=True)
        expected = "had been refunded before" if number == 2 else "is refunded, approved by Ada"
        assert expected in desk.reply()
    desk.say("What do you remember?")
    assert desk.reply() == "You wrote 4 messages, about order 1042 and 1044."
    assert refunds(tmp_path) == ["refund/1042", "refund/1044"]
    assert desk.server.stop() == 0


def wait_until_released(db: Path) -> None:
    query = "SELECT count(*) FROM handlers WHERE status = 'running' AND released = 1"
    asyncio.run(until_stored(db, query))


def test_the_agent_answers_as_its_docstring_says(root: Path, start_server: StartServer) -> None:
    server = start_server(root / "examples/app.py")
    assert "agent" in get_json(f"{server.url}/workflows")["workflows"]

    output = run_docstring(root / "examples/agent.py", server.port, root)

    assert output[0] == "Order 1042 is electric kettle for 48.00. It is delivered on 3 March."
    assert '"type":"ApprovalRequested"' in output[1]
    assert output[-2:] == [
        "48.00 for order 1042 is refunded, approved by Ada.",
        "You wrote 3 messages, about order 1042.",
    ]


# -- With a model behind an endpoint -----------------------------------------------------------


class Endpoint:
    """A chat model's endpoint on this machine: it calls a tool, and then repeats what the tool said."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.failures = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        if len(self.asked) <= self.failures:
            return web.Response(status=503)
        last = body["messages"][-1]
        function = {"name": "find_order", "arguments": '{"order": "1043"}'}
        call = {"content": None, "tool_calls": [{"id": "call-1", "type": "function", "function": function}]}
        message = call if last["role"] == "user" else {"content": last["content"]}
        return web.json_response({"choices": [{"message": {"role": "assistant", **message}}]})


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    async with chat_endpoint(endpoint.answer) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        monkeypatch.setenv("OPENAI_API_KEY", "a-key")
        yield endpoint


def desk_with_the_model_of_the_environment() -> agent.OrderDesk:
    return agent.OrderDesk(system_prompt="Help.", tools=agent.agent.tools, llm=model_from_environment())


async def test_a_model_behind_an_endpoint_gets_the_whole_conversation(endpoint: Endpoint) -> None:
    desk = desk_with_the_model_of_the_environment()
    assert isinstance(desk.llm, OpenAIModel)
    memory = ChatMemoryBuffer.from_defaults(llm=desk.llm)

    first = await desk.run(user_msg="What is 1043?", memory=memory)
    second = await desk.run(user_msg="Again?", memory=memory)

    assert str(first) == str(second) == "Order 1043 is teapot for 29.50."
    tools = {tool["function"]["name"]: tool["function"]["parameters"] for tool in endpoint.asked[0]["tools"]}
    assert tools.keys() == {"find_order", "track_parcel", "refund"}
    assert tools["refund"]["properties"].keys() == {"order"}, "the model is asked for the context"
    call = {"id": "call-1", "type": "function", "function": {"name": "find_order", "arguments": '{"order": "1043"}'}}
    said = {"role": "tool", "content": "Order 1043 is teapot for 29.50.", "tool_call_id": "call-1"}
    turn = [{"role": "assistant", "content": "", "tool_calls": [call]}, said]
    assert endpoint.asked[-1]["messages"] == [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": "What is 1043?"},
        *turn,
        {"role": "assistant", "content": "Order 1043 is teapot for 29.50."},
        {"role": "user", "content": "Again?"},
        *turn,
    ]


async def test_a_model_that_fails_is_asked_again_and_at_last_given_up(endpoint: Endpoint) -> None:
    desk = desk_with_the_model_of_the_environment()
    endpoint.failures = 1
    output: AgentOutput = await desk.run(user_msg="What is 1043?")
    assert str(output) == "Order 1043 is teapot for 29.50."

    endpoint.failures = 100
    with pytest.raises(ModelUnavailableError):
        await desk.run(user_msg="What is 1043?")


def test_without_a_key_the_script_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert isinstance(model_from_environment(), ScriptedModel)


# -- On the engine alone -----------------------------------------------------------------------


async def test_a_refund_of_an_order_that_does_not_exist_asks_nobody(folder: Path) -> None:
    assert str(await agent.agent.run(user_msg="A refund for 1999!")) == "There is no order 1999."
    assert str(await agent.agent.run(user_msg="A refund!")) == "Which order is it about?"
    assert refunds(folder) == []
