"""The log of a run: live, searched, filtered, opened event by event, and saved as files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.harness.api import Json
from tests.harness.browser import Problems, Windows, down, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_seen
from tests.page.conftest import FLOWS

MANY = 100_000
DRAWN = 120
"""Rows that a list draws at most, however many it has."""

IN_SIGHT = """(list) => {
  const row = list.querySelector("[aria-selected=true]")?.getBoundingClientRect();
  const around = list.getBoundingClientRect();
  return row && row.top >= around.top && row.bottom <= around.bottom;
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
        yield served


async def open_log(page: Page, handler: Json, query: str = "") -> Locator:
    """Open the log of a run, and return its list."""
    await page.goto(f"/#/runs/{handler['handler_id']}?view=log{query}")
    return page.get_by_role("listbox", name="Events")


def panel(page: Page) -> Locator:
    """The panel of the log."""
    return page.get_by_role("region", name="Log")


async def selected_in_sight(log: Locator) -> None:
    """Return when the list shows its selected row; the page may be scrolled to another part."""

    async def look() -> bool:
        return bool(await log.evaluate(IN_SIGHT))

    await until_seen(look, "the selected row did not come in sight")


async def test_a_log_goes_on_after_the_death_of_its_server(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    handler = await server.api.start("loop", rounds=2, events=30, gate="death")
    log = await open_log(page, handler)
    await expect(log.get_by_role("option").filter(has_text="event 59 of round 1")).to_be_visible()
    await expect(panel(page)).to_contain_text("60 events, following")
    # All parts of the view are there: for one that is not, the page would be loaded anew, and show the first events.
    await expect(page.get_by_role("button", name="Send another event…")).to_be_visible()
    async with down(server, problems):
        await expect(page.get_by_text("not connected")).to_be_visible()
        await expect(log).to_contain_text("event 59 of round 1")
    server.ledger.open("death")
    await expect(log.get_by_role("option").filter(has_text="StopEvent")).to_be_visible()
    # The second round ran twice, and nothing was shown twice or left out.
    await expect(panel(page)).to_contain_text("91 events")
    await page.get_by_role("searchbox", name="Search in the events").fill("crash")
    await expect(log.get_by_role("option")).to_have_count(1)
    await expect(log).to_contain_text("the server had crashed, and was started again. Interrupted: turn")


async def test_events_are_searched_filtered_and_opened(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("fan_out", count=40)
    await server.api.finished(handler["handler_id"])
    log = await open_log(page, handler)
    rows = log.get_by_role("option")
    await expect(panel(page)).to_contain_text("41 events")
    await expect(rows.filter(has_text="ConnectionError: the gateway dropped item 3").first).to_be_visible()

    await page.get_by_role("searchbox", name="Search in the events").fill('"number":17')
    await expect(panel(page)).to_contain_text("1 of 41 events")
    await expect(rows.locator("mark")).to_have_text('"number":17')
    await rows.first.click()
    pane = page.get_by_role("complementary", name="Selected event")
    await expect(pane).to_contain_text("number: 17")
    await expect(page).to_have_url(re.compile("at=sequence"))

    # The event stays in sight when the others come back, and a link leads to it.
    await page.get_by_role("searchbox", name="Search in the events").fill("")
    await expect(panel(page)).to_contain_text("41 events")
    await selected_in_sight(log)
    await expect(page).not_to_have_url(re.compile("find="))
    await page.reload()
    await expect(pane).to_contain_text("number: 17")
    await selected_in_sight(log)
    await pane.get_by_role("button", name="JSON").click()
    await expect(pane.get_by_label("Payload as JSON")).to_contain_text('"number": 17,\n  "attempts": 1')
    assert await is_accessible(page)
    await screenshot(page, "log")

    # By keyboard alone: the focus goes back to the list, whose rows the arrows lead through.
    await page.keyboard.press("Escape")
    await expect(pane).to_be_hidden()
    await expect(log).to_be_focused()
    await page.keyboard.press("End")
    await page.keyboard.press("Enter")
    await expect(pane.get_by_role("heading", name="StopEvent")).to_be_visible()
    await page.keyboard.press("ArrowUp")
    await expect(pane.get_by_role("heading", name="ItemDone")).to_be_visible()

    await page.get_by_role("button", name="All types").click()
    await page.get_by_role("checkbox", name="StopEvent").check()
    await page.keyboard.press("Escape")
    await expect(rows).to_have_count(1)
    await expect(panel(page)).to_contain_text("1 of 41 events")


async def test_internal_events_and_earlier_runs_are_shown(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("chain", text="one two")
    await server.api.finished(handler["handler_id"])
    again = {"handler_id": handler["handler_id"], "start_event": {"text": "three", "gate": "again"}}
    await server.api.wants("POST", "/workflows/chain/run-nowait", again)
    log = await open_log(page, handler)
    await expect(log).to_contain_text("three")
    await expect(log).not_to_contain_text("one")
    await page.get_by_role("checkbox", name="earlier runs").check()
    await expect(log).to_contain_text("one")
    await expect(log.get_by_role("option").filter(has_text="The run was started")).to_have_count(2)
    await expect(log).not_to_contain_text("StepStateChanged")
    await page.get_by_role("checkbox", name="internal events").check()
    await expect(log).to_contain_text("parse runs, with Document")
    # What follows comes to the log that was put together.
    server.ledger.open("again")
    await log.press("End")
    await expect(log).to_contain_text("summarise was left, with Counted, returned Summary")


async def test_events_keep_their_times_when_a_run_is_continued(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("chain", text="one two", gate="continued")
    log = await open_log(page, handler)
    await expect(log).to_contain_text("one")
    server.ledger.open("continued")
    end = log.get_by_role("option").filter(has_text="Summary").first
    before = await end.inner_text()
    await expect(panel(page)).to_contain_text("3 events")
    again = {"handler_id": handler["handler_id"], "start_event": {"text": "three"}}
    await server.api.wants("POST", "/workflows/chain/run", again)
    await expect(panel(page)).to_contain_text("6 events")
    await expect(log).to_contain_text("The run was started")
    assert await end.inner_text() == before


@pytest.mark.slow(30)
async def test_a_hundred_thousand_events_are_quick_to_use(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("loop", rounds=100, events=MANY // 100)
    await server.api.finished(handler["handler_id"])
    log = await open_log(page, handler)
    await expect(panel(page)).to_contain_text("100,001 events")
    await log.press("End")
    await expect(log.get_by_role("option").last).to_contain_text("StopEvent")
    assert await log.get_by_role("option").count() < DRAWN
    await page.get_by_role("searchbox", name="Search in the events").fill("event 77777 of")
    await expect(panel(page)).to_contain_text("1 of 100,001 events")
    await expect(log.locator("mark")).to_have_text("event 77777 of")


async def test_hostile_payloads_are_text(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("hostile", end="fail", big=True)
    log = await open_log(page, handler)
    told = log.get_by_role("option").filter(has_text="Told")
    pane = page.get_by_role("complementary", name="Selected event")
    await expect(told).to_have_count(5)
    for index in range(5):
        await told.nth(index).click()
        await expect(log.get_by_role("option", selected=True)).to_have_count(1)
        if index == 4:
            await expect(pane).to_contain_text("5,000,0")
            await pane.get_by_role("button", name="Load it").click()
        if index == 0:
            await expect(pane).to_contain_text("invoice\\u202efdp.exe")
        branches = pane.get_by_role("button", expanded=False)
        await expect(pane.get_by_role("button", expanded=True).first).to_be_visible()
        for _ in range(4):
            if await branches.count() > 0:
                await branches.first.click()
        await pane.get_by_role("button", name="JSON").click()
        await expect(pane.get_by_label("Payload as JSON")).to_be_visible()
        await pane.get_by_role("button", name="JSON").click()
    assert "owned" not in await page.title()
    await expect(page.get_by_role("heading", name="owned")).to_have_count(0)


async def saved(page: Page, what: str) -> list[Json]:
    """Save a part of the run, and return the lines of the file."""
    await page.get_by_role("button", name="Export").click()
    async with page.expect_download() as started:
        await page.get_by_role("button", name=f"Save the {what}", exact=True).click()
    path = await (await started.value).path()
    await page.keyboard.press("Escape")
    text = await asyncio.to_thread(Path(path).read_text, encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


async def test_a_run_is_saved_as_files(server: DurableServer, open_page: Windows) -> None:
    page = await open_page(server, phone=True, accept_downloads=True)
    handler = await server.api.start("pay", order="12345678901234567890", seconds=600)
    handler_id = handler["handler_id"]
    log = await open_log(page, handler)
    await expect(log).to_contain_text("PaymentDue")
    # The run goes on: what is saved ends with what is there.
    events = await saved(page, "events")
    assert [event["type"] for event in events] == ["PaymentDue"]
    [saved_handler] = await saved(page, "handler")
    assert saved_handler["handler_id"] == handler_id
    lines = await saved(page, "history")
    asked = f"/handlers/{handler_id}/history?include=value&limit=500"
    history = (await server.api.wants("GET", asked))["history"]
    assert [line["kind"] for line in lines] == ["handler", *(entry["kind"] for entry in history)]
    [wait] = [line for line in lines if line["kind"] == "wait_began"]
    assert json.loads(wait["requirements"]) == {"order": "12345678901234567890"}
    assert len({tuple(line) for line in lines}) == 1
    assert {line["workflow_name"] for line in lines} == {"pay"}
