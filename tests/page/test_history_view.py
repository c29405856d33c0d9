"""The history of a run as a story, and its state."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.harness.browser import is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import FLOWS


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
        yield served


async def test_a_history_tells_each_attempt_and_run(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("failing", name="<b>bold</b>.pdf")
    handler_id = handler["handler_id"]
    await server.api.finished(handler_id)
    await server.api.wants("POST", f"/handlers/{handler_id}/retry", {})
    await server.api.finished(handler_id)
    await page.goto(f"/#/runs/{handler_id}?view=history")
    history = page.get_by_role("region", name="History")
    runs = [history.get_by_role("region", name=f"Run {number}") for number in (1, 2)]
    entries = runs[0].get_by_role("listitem")
    await expect(entries.first).to_contain_text("The run was started.")
    failed = entries.filter(has_text="find failed after").first
    await expect(failed).to_contain_text("FileNotFoundError: no such document: <b>bold</b>.pdf.")
    await expect(failed).to_contain_text("It begins again after")
    await expect(entries.filter(has_text="find began again (attempt 3) with Lookup")).to_be_visible()
    await expect(failed.get_by_text("raise FileNotFoundError")).to_be_hidden()
    await failed.get_by_text("traceback", exact=True).click()
    await expect(failed.get_by_text("raise FileNotFoundError")).to_be_visible()
    await expect(runs[0].get_by_role("heading")).to_contain_text("failed after")
    await expect(runs[1].get_by_role("listitem").nth(1)).to_contain_text("It was taken up again")
    assert await is_accessible(page)
    await screenshot(page, "history")

    # What is selected here is selected in the log.
    second = runs[1].get_by_role("listitem").filter(has_text="find failed after").filter(has_text="(attempt 2)")
    await second.get_by_role("button").click()
    await page.get_by_role("link", name="Log", exact=True).click()
    selected = page.get_by_role("listbox", name="Events").get_by_role("option", selected=True)
    await expect(selected).to_contain_text("(attempt 2): FileNotFoundError")
    await page.get_by_role("link", name="History", exact=True).click()
    await entries.filter(has_text="find failed after").first.get_by_role("button").click()
    await page.get_by_role("link", name="Log", exact=True).click()
    await expect(page.get_by_role("checkbox", name="earlier runs")).to_be_checked()
    await expect(selected).to_contain_text("find failed after")
    await page.get_by_role("link", name="History", exact=True).click()

    await history.get_by_role("button", name="Failures").click()
    await expect(entries).to_have_count(4)
    await history.get_by_label("Order").select_option("newest first")
    await expect(history.get_by_role("listitem").first).to_contain_text("The run failed in find, in attempt 3")
    await page.reload()
    await expect(history.get_by_role("button", name="Failures")).to_have_attribute("aria-pressed", "true")
    await expect(history.get_by_role("listitem").first).to_contain_text("The run failed in find, in attempt 3")


async def test_a_long_history_is_shown_page_by_page(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("loop", rounds=300)
    await server.api.finished(handler["handler_id"])
    await page.goto(f"/#/runs/{handler['handler_id']}?view=history")
    history = page.get_by_role("region", name="History")
    entries = history.get_by_role("listitem")
    await expect(history).to_contain_text("904 entries")
    await expect(entries).to_have_count(200)
    await history.get_by_role("button", name="Show more: 704 are left").click()
    await expect(entries).to_have_count(600)


async def test_a_state_is_shown_without_its_secrets(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("chain", text="A long title", gate="state")
    await page.goto(f"/#/runs/{handler['handler_id']}?view=state")
    state = page.get_by_role("region", name="State")
    await expect(state).to_contain_text('title: "A long title"')
    await expect(state).to_contain_text('api_key: "(hidden)"')
    await expect(state).to_contain_text("1 value whose keys name secrets")
    await expect(state).not_to_contain_text("sk-secret")
    assert await is_accessible(page)
    server.ledger.open("state")
