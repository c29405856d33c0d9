"""The graph of a run tells the state of each step as it changes, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.harness.browser import LOST, Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import FLOWS, HERE

TIMED = str(HERE / "timed.py")


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    """A server with the workflows of timed.py."""
    async with DurableServer(tmp_path, TIMED) as served:
        yield served


def step(page: Page, name: str) -> Locator:
    """The button of a step in the graph."""
    return page.get_by_role("region", name="Graph").get_by_role("button", name=re.compile(f"^{name}:"))


async def test_steps_tell_their_states_as_they_change(server: DurableServer, page: Page, problems: Problems) -> None:
    handler_id = (await server.api.start("packing"))["handler_id"]
    await server.ledger.reached("packed")
    await page.goto(f"/#/runs/{handler_id}")
    await expect(page.get_by_role("group", name="Graph of Packing, 4 steps")).to_be_visible()
    await expect(step(page, "split")).to_have_accessible_name(re.compile("split: done"))
    await expect(step(page, "pack")).to_have_accessible_name("pack: running · 3 done · 1 retry")
    await expect(step(page, "ship")).to_have_accessible_name("ship: not begun")
    server.ledger.open("packed")
    await expect(step(page, "confirm")).to_have_accessible_name("confirm: waits for Approval")
    await screenshot(page, "graph-waits")
    await server.api.wants("POST", f"/events/{handler_id}", {"event": {"type": "Approval", "value": {}}})
    await expect(step(page, "ship")).to_have_accessible_name("ship: running")
    server.ledger.open("shipped")
    await expect(step(page, "ship")).to_have_accessible_name("ship: failed")
    await expect(step(page, "pack")).to_have_accessible_name("pack: done × 4 · 1 retry")


async def test_a_step_is_chosen_in_all_views_at_once(server: DurableServer, page: Page) -> None:
    handler_id = (await server.api.start("packing"))["handler_id"]
    await page.goto(f"/#/runs/{handler_id}")
    lane = page.get_by_role("region", name="Timeline").get_by_role("button", name="pack", exact=True)
    await step(page, "pack").focus()
    await page.keyboard.press("Enter")
    await expect(lane).to_have_attribute("aria-pressed", "true")
    await expect(page).to_have_url(re.compile(r"at=step%3Apack$"))
    await page.reload()
    await expect(step(page, "pack")).to_have_attribute("aria-pressed", "true")
    await lane.click()
    await expect(step(page, "pack")).to_have_attribute("aria-pressed", "false")
    graph = page.get_by_role("region", name="Graph")
    await graph.get_by_role("button", name="List").click()
    row = graph.get_by_role("row").filter(has=page.get_by_role("button", name="confirm"))
    await expect(row).to_contain_text("Packed")
    await row.get_by_role("button").click()
    await expect(row.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    assert await is_accessible(page, ".graph-panel")
    await graph.get_by_role("button", name="List").click()
    assert await is_accessible(page, ".graph-panel")


async def test_forty_steps_are_zoomed_and_scrolled(server: DurableServer, open_page: Windows) -> None:
    handler_id = (await server.api.start("long"))["handler_id"]
    page = await open_page(server, f"/#/runs/{handler_id}", phone=True)
    graph = page.get_by_role("region", name="Graph")
    first, last = step(page, "stage_00"), step(page, "stage_39")
    await expect(last).to_have_accessible_name(re.compile("done"))
    await expect(first).to_be_in_viewport()
    await last.focus()
    await expect(last).to_be_in_viewport()
    await expect(first).not_to_be_in_viewport()
    await graph.get_by_role("button", name="Fit the graph").click()
    await graph.get_by_role("group").evaluate("(drawing) => drawing.scrollIntoView({ block: 'center' })")
    await expect(first).to_be_in_viewport()
    await expect(last).to_be_in_viewport()
    await last.press("+")
    await last.press("+")
    await expect(first).not_to_be_in_viewport()
    await last.press("0")
    await expect(first).to_be_in_viewport()
    await graph.get_by_role("button", name="List").click()
    await expect(graph.get_by_role("row").nth(40)).to_contain_text("stage_39")
    await page.goto("/#/workflows/long")
    await expect(graph.get_by_role("img", name="stage_00")).to_be_visible()
    assert await is_accessible(page, ".graph")


async def test_steps_of_an_unknown_workflow_are_those_that_ran(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    handler_id = (await server.api.start("packing"))["handler_id"]
    await server.ledger.reached("packed")
    port = server.port
    problems.allow(LOST, "status of 404 .*/workflows/packing/")
    await server.kill()
    await server.start(FLOWS, port=str(port))
    await page.goto(f"/#/runs/{handler_id}")
    await expect(page.get_by_text("This workflow is not registered here")).to_be_visible()
    await expect(step(page, "split")).to_have_accessible_name(re.compile("done"))
