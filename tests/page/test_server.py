"""The view of the server: whether it is well, what it does, and which runs do not fit its code."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.harness.browser import LOST, Problems, Windows, down, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_seen

BEFORE = """
from workflows import Workflow, step
from workflows.events import HumanResponseEvent, InputRequiredEvent, StartEvent, StopEvent


class Ask(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> InputRequiredEvent:
        return InputRequiredEvent(prefix="Ready?")

    @step
    async def answered(self, ev: HumanResponseEvent) -> StopEvent:
        return StopEvent(result=ev.response)


ask = Ask(timeout=None)
"""
AFTER = BEFORE.replace("ask(self", "put_the_question(self").replace("answered(self", "take_the_answer(self")


async def test_the_server_tells_that_it_is_well(examples: DurableServer, open_page: Windows) -> None:
    page = await open_page(examples, "/#/server")
    await expect(page.get_by_role("heading", name="Server", level=1)).to_be_visible()
    await expect(page.get_by_text("healthy")).to_be_visible()
    await expect(page.get_by_text("Every run that goes on fits the code that is served.")).to_be_visible()
    live = page.get_by_role("region", name="The last minutes")
    await expect(live.get_by_role("img", name=re.compile("Commits over the last minutes, now [0-9.]+"))).to_be_visible()
    assert await is_accessible(page)
    working = asyncio.create_task(_work(examples))
    await expect(live.get_by_role("img", name=re.compile("A commit takes .* now [0-9.]+ m?s"))).to_be_visible()
    await working
    await page.get_by_role("region", name="Runs that go on").get_by_role("link", name="Waiting for you").click()
    await expect(page.get_by_role("link", name="waiting for you")).to_have_attribute("aria-current", "true")
    await page.go_back()
    await expect(page.get_by_text("healthy")).to_be_visible()
    await screenshot(page, "server", whole=True)


async def _work(server: DurableServer) -> None:
    for _ in range(40):
        await server.api.wants("POST", "/workflows/hello/run", {"start_event": {"name": "Ada"}})
        await asyncio.sleep(0.1)


async def test_the_server_view_survives_a_restart(
    examples: DurableServer, open_page: Windows, problems: Problems
) -> None:
    page = await open_page(examples, "/#/server")
    await expect(page.get_by_text("healthy")).to_be_visible()
    async with down(examples, problems):
        await expect(page.get_by_text("not connected")).to_be_visible()
        await expect(page.get_by_text("it goes on by itself")).to_be_visible()
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await expect(page.get_by_text("it goes on by itself")).to_be_hidden()
    problems.allow(LOST)


async def test_runs_that_do_not_fit_the_code_are_told(tmp_path: Path, open_page: Windows) -> None:
    flows = tmp_path / "asking.py"
    flows.write_text(BEFORE)
    async with DurableServer(tmp_path, str(flows)) as before:
        handler = await before.api.start("ask")
        await before.api.wants("GET", f"/handlers/{handler['handler_id']}", status=202)
        await _waits(before, handler["handler_id"])
    flows.write_text(AFTER)
    async with DurableServer(tmp_path, str(flows)) as after:
        page = await open_page(after, "/#/server")
        code = page.get_by_role("region", name="Runs and their code")
        row = code.get_by_role("row").filter(has_text=handler["handler_id"])
        await expect(row).to_contain_text("ask")
        await expect(code.get_by_role("link", name="(other code)")).to_be_visible()
        assert await is_accessible(page)
        await screenshot(page, "server-suspended", whole=True)
        await row.get_by_role("link").click()
        await expect(page.get_by_role("heading", name="ask", level=1)).to_be_visible()
        await expect(page.get_by_text("suspended").first).to_be_visible()
        await expect(page.get_by_role("region", name="Log")).to_be_visible()
        # Its streams would break off with the server.
        await page.context.close()


async def _waits(server: DurableServer, handler_id: str) -> None:
    async def is_asked() -> bool:
        return bool((await server.api.handler(handler_id))["waiting_for"])

    await until_seen(is_asked, "the question is asked")


async def test_the_server_view_fits_a_phone(examples: DurableServer, open_page: Windows) -> None:
    page = await open_page(examples, "/#/server", phone=True, dark=True)
    await expect(page.get_by_text("healthy")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await screenshot(page, "server-phone", whole=True)


async def test_a_view_that_could_not_be_loaded_comes_by_itself(
    examples: DurableServer, open_page: Windows, problems: Problems
) -> None:
    page = await open_page(examples, "/#/runs")
    await expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    async with down(examples, problems):
        await page.get_by_role("navigation", name="Main").get_by_role("link", name="Workflows").click()
        await expect(page.get_by_text("This part of the page could not be loaded.")).to_be_visible()
        await expect(page.get_by_text("not connected")).to_be_visible()
    await expect(page.get_by_role("heading", name="Workflows", level=1)).to_be_visible()
    problems.allow(LOST, "dynamically imported")


async def test_an_id_that_is_no_id_is_told(examples: DurableServer, open_page: Windows) -> None:
    page = await open_page(examples, "/#/runs/..")
    await expect(page.get_by_role("heading", name="There is no such run")).to_be_visible()


async def test_a_place_that_does_not_exist_leads_back(examples: DurableServer, open_page: Windows) -> None:
    page: Page = await open_page(examples, "/#/nowhere/at/all")
    await expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    await page.get_by_role("link", name="See the runs").click()
    await expect(page).to_have_url(re.compile("#/runs$"))
