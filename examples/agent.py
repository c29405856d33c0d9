r"""An agent at an order desk, with tools, a memory, and a human who decides on refunds.

It needs llama-index-core, which the extra ``agent`` of this project installs. Start the server in one terminal
(``workflow-server serve examples/agent.py``), and in another ask about an order. Two tools are called side by side:

    $ say() { python3 -c 'import json, sys; \
        print(json.load(sys.stdin)["result"]["value"]["result"]["response"]["blocks"][0]["text"])'; }
    $ ANSWER=$(curl -s -H 'Content-Type: application/json' localhost:8080/workflows/agent/run \
        -d '{"start_event": {"user_msg": "Where is order 1042?"}}')
    $ echo "$ANSWER" | say
    $ HANDLER=$(echo "$ANSWER" | python3 -c 'import json, sys; print(json.load(sys.stdin)["handler_id"])')

A conversation is one handler, with a run for each message: the agent remembers which order it was about. Before a
refund it asks a human, and waits, over any number of restarts of the server:

    $ curl -s -H 'Content-Type: application/json' localhost:8080/workflows/agent/run-nowait \
        -d '{"handler_id": "'$HANDLER'", "start_event": {"user_msg": "It arrived broken. A refund, please."}}'
    $ curl -sN --max-time 3 "localhost:8080/events/$HANDLER?sse=false&after_sequence=-1" | grep ApprovalRequested

Approve it (or refuse, with ``false``), and ask what it remembers:

    $ curl -s -H 'Content-Type: application/json' localhost:8080/events/$HANDLER \
        -d '{"event": {"type": "Approval", "value": {"order": "1042", "approved": true, "reviewer": "Ada"}}}'
    $ curl -sN "localhost:8080/events/$HANDLER?sse=false&after_sequence=-1" | tail -n 1 | wc -l
    $ curl -s localhost:8080/handlers/$HANDLER | say
    $ curl -s -H 'Content-Type: application/json' localhost:8080/workflows/agent/run \
        -d '{"handler_id": "'$HANDLER'", "start_event": {"user_msg": "What do you remember?"}}' | say

The model plays a script. With OPENAI_BASE_URL and OPENAI_API_KEY set (and OPENAI_MODEL, if you like), a real one
answers, and the conversation is sent there.
"""

# Without "from __future__ import annotations": llama-index-core finds a tool's context by the class of its parameter.

import asyncio
import csv
from pathlib import Path
from typing import NamedTuple

from agent_model import model_from_environment
from chat_model import ModelUnavailableError
from ledger import Entry, Ledger
from llama_index.core.agent.workflow import AgentOutput, FunctionAgent
from llama_index.core.agent.workflow.workflow_events import AgentSetup
from workflows import Context, step
from workflows.events import HumanResponseEvent, InputRequiredEvent
from workflows.retry_policy import retry_if_exception_type, retry_policy, stop_after_attempt, wait_exponential

ORDERS = Path(__file__).parent / "data" / "orders.csv"
REFUNDS = Path("data/refunds.ndjson")
"""The ledger of refunds, in the folder in which the server runs."""
PROMPT = (
    "You answer customers at an order desk. Look things up with your tools; never guess. Refund only what the customer "
    "asks to have refunded. Say in one or two sentences what you found or did."
)


class ApprovalRequested(InputRequiredEvent):
    """The question to a human: is this order to be refunded?"""

    question: str
    order: str


class Approval(HumanResponseEvent):
    """The human's answer, for the order that was asked about."""

    order: str
    approved: bool
    reviewer: str = "somebody"


class Order(NamedTuple):
    """One line of the file."""

    number: str
    item: str
    amount: str
    status: str


async def find_order(order: str) -> str:
    """Tell what was ordered, and for how much.

    Args:
        order: the number of the order.
    """
    found = await asyncio.to_thread(_find, order)
    return f"Order {found.number} is {found.item} for {found.amount}." if found else f"There is no order {order}."


async def track_parcel(order: str) -> str:
    """Tell where the parcel of an order is.

    Args:
        order: the number of the order.
    """
    found = await asyncio.to_thread(_find, order)
    return f"It is {found.status}." if found else "It has no parcel."


async def refund(ctx: Context, order: str) -> str:
    """Refund an order in full, when a human has approved it.

    Args:
        order: the number of the order.
    """
    found = await asyncio.to_thread(_find, order)
    if found is None:
        return f"There is no order {order}."
    question = f"Refund {found.amount} for order {order} ({found.item})? Answer with an Approval event."
    answer = await ctx.wait_for_event(
        Approval,
        waiter_event=ApprovalRequested(question=question, order=order),
        requirements={"order": order},
        timeout=None,
    )
    if not answer.approved:
        return f"{answer.reviewer} did not approve a refund of order {order}."
    # The step may run again after a crash: the ledger keeps each reference once.
    entry = Entry(reference=f"refund/{order}", customer=found.item, amount=found.amount)
    if not await asyncio.to_thread(Ledger(REFUNDS).post, entry):
        return f"Order {order} had been refunded before."
    return f"{found.amount} for order {order} is refunded, approved by {answer.reviewer}."


class OrderDesk(FunctionAgent):
    """An agent that asks its model again if it gives no answer; the delays outlast a restart, too."""

    @step(
        retry_policy=retry_policy(
            retry=retry_if_exception_type(ModelUnavailableError),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_attempt(3),
        )
    )
    async def run_agent_step(self, ctx: Context, ev: AgentSetup) -> AgentOutput:
        """Ask the model."""
        output: AgentOutput = await super().run_agent_step(ctx, ev)
        return output


def _find(order: str) -> Order | None:
    with ORDERS.open(newline="", encoding="utf-8") as file:
        return next((Order(**row) for row in csv.DictReader(file) if row["number"] == order), None)


agent = OrderDesk(
    name="order_desk",
    description="Answers questions about orders and refunds them.",
    system_prompt=PROMPT,
    tools=[find_order, track_parcel, refund],
    llm=model_from_environment(),
)
