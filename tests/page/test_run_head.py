"""The top of a run: how it stands, how it ended, and what can be done about it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.harness.browser import Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.test_start import ORDER, ORDERS


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), ORDERS) as served:
        yield served


async def test_a_completed_run_shows_its_result_and_facts(server: DurableServer, page: Page) -> None:
    body = {"start_event": {**ORDER, "number": 12345678901234567}, "tags": ["team: <b>editorial</b>"]}
    handler = await server.api.wants("POST", "/workflows/orders/run", body)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(f"/#/runs/{handler['handler_id']}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("orders")
    await expect(page.get_by_role("status").filter(has_text="completed").first).to_be_visible()
    for fact in ("Took", "Restarts survived 0", "Events 1", "Tags team: <b>editorial</b>"):
        await expect(page.locator(".facts")).to_contain_text(fact)
    result = page.get_by_role("region", name="Result")
    await expect(result).to_contain_text('customer: "Ada"')
    assert await is_accessible(page)
    await screenshot(page, "run-completed", whole=True)
    await page.get_by_role("button", name="Copy the result").click()
    await expect(page.get_by_role("button", name="Copy the result")).to_have_text("Copied")
    copied = json.loads(await page.evaluate("navigator.clipboard.readText()"))
    assert copied["number"] == 12345678901234567
    await page.get_by_role("button", name="Copy as curl").click()
    await expect(page.get_by_role("button", name="Copied").last).to_be_visible()
    command = await page.evaluate("navigator.clipboard.readText()")
    assert f"'{server.api.url}/workflows/orders/run-nowait'" in command
    assert '"number":12345678901234567' in command
    await page.get_by_role("button", name=f"Copy handler id {handler['handler_id']}").click()
    await page.wait_for_function(
        "async (id) => (await navigator.clipboard.readText()) === id", arg=handler["handler_id"]
    )
    await page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="orders").click()
    await page.wait_for_url("**/#/runs?workflow=orders")
    await expect(page.get_by_role("button", name="Remove the filter workflow: orders")).to_be_visible()


async def test_a_failed_run_shows_its_error_and_is_retried(server: DurableServer, page: Page) -> None:
    handler = await server.api.start("fragile")
    await server.api.finished(handler["handler_id"])
    await page.goto(f"/#/runs/{handler['handler_id']}")
    error = page.get_by_role("region", name="Error")
    await expect(error).to_contain_text("ConnectionError: no route to the warehouse")
    await expect(error).to_contain_text("at orders.py:")
    await error.get_by_text("Traceback", exact=True).click()
    await expect(error).to_contain_text('raise ConnectionError("no route to the warehouse")')
    assert await is_accessible(page)
    await screenshot(page, "run-failed", whole=True)
    await page.get_by_role("button", name="Retry…").click()
    dialog = page.get_by_role("dialog", name="Retry this run")
    await dialog.get_by_label("Begin again").select_option("from step prepare")
    await expect(dialog).to_contain_text("What came after the last beginning of prepare is done again.")
    await dialog.get_by_label("As a copy: this run stays as it is").check()
    await dialog.get_by_role("button", name="Retry as a copy").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("region", name="Result")).to_contain_text("delivered")
    assert handler["handler_id"] not in page.url
    await page.go_back()
    await page.get_by_role("button", name="Retry…").click()
    await dialog.get_by_role("button", name="Retry", exact=True).click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("delivered")
    await expect(page.locator(".facts")).to_contain_text("Retried 1 time")


async def test_a_run_is_cancelled_and_purged_after_a_question(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    problems.allow("status of 404")
    handler_id = (await server.api.start("slot"))["handler_id"]
    queued = (await server.api.start("slot"))["handler_id"]
    await page.goto(f"/#/runs/{queued}")
    await expect(page.get_by_text("This run waits for its turn.")).to_be_visible()
    await page.goto(f"/#/runs/{handler_id}")
    await page.get_by_role("button", name="Cancel…").click()
    dialog = page.get_by_role("dialog", name="Cancel this run?")
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Cancel…")).to_be_focused()
    await page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="Cancel the run").click()
    await expect(page.get_by_text("This run was cancelled.")).to_be_visible()
    await page.get_by_role("button", name="Purge…").click()
    await page.get_by_role("button", name="Purge for good").click()
    await page.wait_for_url("**/#/runs")
    await page.goto(f"/#/runs/{handler_id}")
    await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()
    await page.goto(f"/#/runs/{queued}")
    await expect(page.get_by_role("heading", name="This run waits for Hint.")).to_be_visible()


async def test_a_role_that_reads_is_offered_nothing_else(server: DurableServer, open_page: Windows) -> None:
    handler_id = (await server.api.start("asking"))["handler_id"]
    page = await open_page(server, None)
    await page.route("**/session", lambda route: route.fulfill(json={"name": "reader", "role": "read"}))
    await page.goto(f"/#/runs/{handler_id}")
    await expect(page.get_by_role("region", name="Ship order A-17?")).to_contain_text("may not answer")
    for name in ("Cancel…", "Purge…", "Retry…", "Send Decision", "Send another event…"):
        await expect(page.get_by_role("button", name=name)).to_have_count(0)
    await expect(page.get_by_role("link", name="Start again")).to_have_count(0)
    await page.goto("/#/start/orders")
    await expect(page.get_by_role("heading", name="This token may not start runs")).to_be_visible()
