"""Posting an answer before its question, over HTTP: what the handler and the stream show of it."""

from __future__ import annotations

import json
from typing import Any

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from tests.harness.waiting import until_seen
from tests.web.conftest import Serve, Served


class Go(HumanResponseEvent):
    """The question may be asked."""


class Answer(HumanResponseEvent):
    text: str


class Later(Workflow):
    """Asks when it may."""

    def __init__(self) -> None:
        super().__init__(timeout=None, skip_graph_checks={"dead_end", "terminal_event"})

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent | Go | Answer:
        await ctx.wait_for_event(Go, timeout=None)
        answer = await ctx.wait_for_event(Answer, requirements={"text": "yes"}, timeout=None)
        return StopEvent(result=answer.text)


async def post(served: Served, handler_id: str, kind: str, value: dict[str, Any], **more: Any) -> int:
    body = {"event": {"type": kind, "value": value}, **more}
    return (await served.post(f"/events/{handler_id}", json=body))[0]


async def told(served: Served, handler_id: str) -> list[tuple[str, Any]]:
    """The events of the stream as it is by default, without the internal ones."""
    async with served.client.get(f"/events/{handler_id}?sse=false&after_sequence=-1") as response:
        events = [json.loads(line) for line in (await response.text()).splitlines() if line.strip()]
    return [(event["type"], event["value"].get("event_type", event["value"].get("result"))) for event in events]


async def test_an_early_answer_is_held_and_shown_or_told_as_unhandled(serve: Serve) -> None:
    served = await serve(max_held_events=3, workflows={"later": Later()})
    handler_id = await served.start("later")
    sent = [await post(served, handler_id, "Answer", {"text": text}) for text in ("no", "yes", "yes", "yes")]
    assert sent == [200, 200, 200, 429]

    async def are_held() -> bool:
        return bool((await served.get(f"/handlers/{handler_id}"))[1]["held_events"] == 3)

    await until_seen(are_held, "the answers are not held")
    listed = (await served.get("/handlers?workflow_name=later"))[1]["handlers"]
    assert [handler["held_events"] for handler in listed] == [3]
    assert await post(served, handler_id, "Go", {}) == 200
    assert await told(served, handler_id) == [
        ("UnhandledEvent", "Answer"),
        ("UnhandledEvent", "Answer"),
        ("StopEvent", "yes"),
    ]
    assert (await served.get(f"/handlers/{handler_id}"))[1]["held_events"] == 0


async def test_what_is_posted_to_be_held_waits_for_the_next_wait(serve: Serve) -> None:
    served = await serve(workflows={"later": Later()})
    handler_id = await served.start("later")
    assert await post(served, handler_id, "Go", {}) == 200
    assert await post(served, handler_id, "Answer", {"text": "no"}, hold=False) == 200
    assert await post(served, handler_id, "Answer", {"text": "no"}, hold=True) == 200
    assert await post(served, handler_id, "Answer", {"text": "yes"}, hold=None) == 200
    assert (await told(served, handler_id))[-2:] == [("UnhandledEvent", "Answer"), ("StopEvent", "yes")]
    assert await post(served, handler_id, "Answer", {"text": "yes"}, hold="perhaps") == 400


async def test_a_body_too_many_is_told_when_to_come_again(serve: Serve) -> None:
    served = await serve(max_waiting_bytes=2_048, workflows={"later": Later()})
    handler_id = await served.start("later")
    body = {"event": {"type": "Answer", "value": {"text": "x" * 1_500}}}
    assert (await served.post(f"/events/{handler_id}", json=body))[0] == 200
    async with served.client.post(f"/events/{handler_id}", json=body) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "5")
        assert "at most 2,048 bytes may wait for its run" in (await response.json())["detail"]
