"""Reasons for stored values that no longer fit the code: they quote nothing of those values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, field_validator
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent

from tests.harness.managing import Managing
from tests.harness.runs import asked, ended
from workflow_server.errors import WorkflowServerError
from workflow_server.execution.unreadable import CHAIN, unreadable
from workflow_server.logs import FORMAT, OneLineFormatter
from workflow_server.protocol.handlers import RunRequest
from workflow_server.runs.exceptions import StateUnreadable

CANARY = "canary-7f3"


class Account(BaseModel):
    token: str = ""


class Number(BaseModel):
    token: int = 0


class Quoting(BaseModel):
    token: str = ""

    @field_validator("token")
    @classmethod
    def _never(cls, token: str) -> str:
        if token:
            raise ValueError(f"the token {token} is not known")
        return token


class Looking(BaseModel):
    token: str = ""

    @field_validator("token")
    @classmethod
    def _never(cls, token: str) -> str:
        if token:
            raise KeyError(token)
        return token


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Number, "'token': Input should be a valid integer, unable to parse string as an integer"),
        (Quoting, "'token': the token … is not known"),
        (Looking, "the stored data no longer fits the code (KeyError)"),
    ],
)
def test_a_reason_names_place_and_rule_however_it_was_wrapped(kind: type[BaseModel], reason: str) -> None:
    with pytest.raises((ValueError, KeyError)) as caught:
        kind.model_validate({"token": CANARY})
    found: BaseException = caught.value
    assert unreadable(found) == reason
    for _ in range(CHAIN - 2):
        wrapped = ValueError(f"Failed to read: {found}")
        wrapped.__cause__ = found
        found = wrapped
    assert CANARY not in unreadable(found)
    assert unreadable(found) == reason.replace("KeyError", "ValueError")


def test_what_this_server_says_itself_is_told_as_it_is() -> None:
    wrapped = RuntimeError(CANARY)
    wrapped.__cause__ = StateUnreadable("h", "x")
    assert unreadable(wrapped) == str(wrapped.__cause__)
    assert issubclass(StateUnreadable, WorkflowServerError)


class Begin(StartEvent):
    card: Any = None
    wait: bool = False


async def kept(ctx: Context[Any], ev: Begin) -> StopEvent:
    async with ctx.store.edit_state() as state:
        state.token = CANARY
    if ev.wait:
        await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(), timeout=None)
    return StopEvent(result="kept")


class KeepsAccount(Workflow):
    @step
    async def keep(self, ctx: Context[Account], ev: Begin) -> StopEvent:
        return await kept(ctx, ev)


class KeepsNumber(Workflow):
    @step
    async def keep(self, ctx: Context[Number], ev: Begin) -> StopEvent:
        return await kept(ctx, ev)


class KeepsQuoting(Workflow):
    @step
    async def keep(self, ctx: Context[Quoting], ev: Begin) -> StopEvent:
        return await kept(ctx, ev)


class KeepsLooking(Workflow):
    @step
    async def keep(self, ctx: Context[Looking], ev: Begin) -> StopEvent:
        return await kept(ctx, ev)


@pytest.mark.parametrize("deployed", [KeepsNumber, KeepsQuoting, KeepsLooking])
async def test_after_a_deploy_no_stored_value_is_shown_anywhere(
    managing: Managing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, deployed: type[Workflow]
) -> None:
    async with managing(keep=KeepsAccount(timeout=None)) as manager:
        done = await manager.run("keep", RunRequest({"card": CANARY}))
        waiting = await manager.start("keep", RunRequest({"card": CANARY, "wait": True}))
        await asked(manager, waiting.handler_id)
    monkeypatch.setattr(caplog.handler, "formatter", OneLineFormatter(FORMAT))
    said: list[str] = []
    async with managing(keep=deployed(timeout=None)) as manager:
        shown = await manager.get_handler(waiting.handler_id)
        if shown.status != "running":
            shown, last = await ended(manager, waiting.handler_id)
            said += [str(shown.error), last]
        try:
            await manager.start("keep", RunRequest(handler_id=done.handler_id))
        except WorkflowServerError as error:
            said.append(str(error))
    assert CANARY not in f"{said} {caplog.text}"
