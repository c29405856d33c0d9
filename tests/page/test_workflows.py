"""The views of the workflows: how their runs fare, over time and by step, and what they take."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.harness.browser import Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import EXAMPLES


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """The examples, of which some runs have ended: 3 of hello, and one of nightly_batch, in which a step fails."""
    async with DurableServer(tmp_path_factory.mktemp("server"), EXAMPLES) as served:
        for name in ("Ada", "Grace", "Hedy"):
            await served.api.wants("POST", "/workflows/hello/run", {"start_event": {"name": name}})
        await served.api.wants("POST", "/workflows/nightly_batch/run", {"start_event": {"pause": 0.01}})
        yield served


async def test_each_workflow_tells_how_its_runs_fare(server: DurableServer, page: Page) -> None:
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Workflows").click()
    await expect(page.get_by_role("heading", name="Workflows", level=1)).to_be_visible()
    card = page.get_by_role("article").filter(has=page.get_by_role("heading", name="hello"))
    await expect(card).to_contain_text("ended3running0failed0success100 %")
    await expect(card.get_by_role("img", name="hello: 3 runs started in this time")).to_be_visible()
    agent = page.get_by_role("article").filter(has=page.get_by_role("heading", name="agent"))
    await expect(agent).to_contain_text("No runs in this time.")
    assert await is_accessible(page)
    await screenshot(page, "workflows")
    await card.get_by_role("link", name="hello", exact=True).click()
    await expect(page.get_by_role("heading", name="hello", level=1)).to_be_visible()


async def test_a_workflow_shows_figures_graph_steps_and_events(server: DurableServer, open_page: Windows) -> None:
    page = await open_page(server, "/#/workflows/nightly_batch")
    figures = page.get_by_role("region", name="Figures")
    await expect(figures).to_contain_text("Ended1in the last 24 hours")
    await expect(figures).to_contain_text("Success rate100 %")
    charts = page.get_by_role("img", name="Runs over time: 1 run completed and 0 failed")
    await expect(charts.locator("canvas")).to_be_visible()
    await expect(page.get_by_role("img", name="Durations over time")).to_be_visible()
    # In this batch a payment gateway fails at times, and the step is tried again.
    steps = page.get_by_role("region", name="Steps")
    row = steps.get_by_role("row").filter(has_text="post")
    assert int((await row.get_by_role("cell").nth(3).inner_text()).replace(",", "")) > 0
    await steps.get_by_label("Order of the steps").select_option("often")
    await expect(steps.get_by_role("row").nth(1)).to_contain_text("post")
    await expect(page.get_by_role("region", name="Graph").get_by_text("InvoiceDue").first).to_be_visible()
    await page.get_by_text("starts a run").click()
    await expect(page.get_by_role("cell", name="default 0.25")).to_be_visible()
    assert await is_accessible(page)
    await screenshot(page, "workflow", whole=True)
    await page.get_by_label("Period").select_option("7d")
    await expect(figures).to_contain_text("in the last 7 days")
    assert page.url.endswith("#/workflows/nightly_batch?period=7d")
    await page.reload()
    await expect(page.get_by_label("Period")).to_have_value("7d")
    await figures.get_by_role("link", name="Ended").click()
    await expect(page.get_by_role("table", name="Runs").get_by_role("row")).to_have_count(2)
    await expect(page.get_by_role("button", name="workflow: nightly_batch")).to_be_visible()
    await page.go_back()
    await figures.get_by_role("link", name="Running now").click()
    await expect(page.get_by_role("heading", name="Runs", level=1)).to_be_attached()


async def test_a_workflow_shows_its_new_runs_by_itself(examples: DurableServer, open_page: Windows) -> None:
    page = await open_page(examples, "/#/workflows/hello")
    latest = page.get_by_role("region", name="Latest runs")
    await expect(latest).to_contain_text("No runs yet")
    started = await examples.api.wants("POST", "/workflows/hello/run", {"start_event": {"name": "Katherine"}})
    await expect(latest.get_by_role("link", name=started["handler_id"])).to_be_visible()
    await expect(latest).to_contain_text("Hello, Katherine!")


async def test_a_workflow_that_is_not_there_says_so(
    server: DurableServer, open_page: Windows, problems: Problems
) -> None:
    problems.allow("status of 404")
    page = await open_page(server, "/#/workflows/gone%2Fand%20over")
    await expect(page.get_by_role("heading", name="gone/and over")).to_be_visible()
    await expect(page.get_by_text("This workflow is not registered")).to_be_visible()


async def test_the_workflows_fit_a_phone(server: DurableServer, open_page: Windows) -> None:
    page = await open_page(server, "/#/workflows/nightly_batch", phone=True, dark=True)
    await expect(page.get_by_role("region", name="Figures")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await screenshot(page, "workflow-phone", whole=True)
