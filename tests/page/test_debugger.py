"""npm's @llamaindex/workflow-debugger, the page of other servers, works against this one, mounted beside it.

It has to come from the server's own origin: it opens event streams with credentials, which no other origin gets. It
asks for no events of a run that has ended: one that is opened again, or that was quick, shows its status and nothing
else. It takes its font from another host.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.harness.browser import Problems, Windows, down
from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT
from tests.page.conftest import FLOWS

PIN = "@llamaindex/workflow-debugger@0.2.42"
PLACE = "/debugger/"
FONT = "https://fonts.googleapis.com/"
DOCUMENT = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>workflow-debugger</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="{PLACE}app.css">
<script type="module" src="{PLACE}app.js"></script><div id="root"></div>"""


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The folder with the built debugger, which is fetched once and kept for later test runs."""
    folder = ROOT / ".cache" / PIN.rpartition("/")[2]
    if folder.exists():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and the debugger comes from it")
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as new:
        command = [npm, "pack", "--silent", "--fetch-retries=1", "--fetch-timeout=60000", PIN]
        packed = subprocess.run(
            command, cwd=new, check=True, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        ).stdout
        subprocess.run(["tar", "-xzf", packed.strip()], cwd=new, check=True)
        (Path(new) / "package/dist").rename(folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def debugger(server: DurableServer, open_page: Windows, problems: Problems, bundle: Path) -> Page:
    """A window with the debugger in it."""
    problems.allow(FONT)

    async def serve(route: Route) -> None:
        name = route.request.url.partition(PLACE)[2]
        if name:
            await route.fulfill(path=bundle / name)
        else:
            await route.fulfill(body=DOCUMENT, content_type="text/html")

    page = await open_page(server, None)
    await page.context.route(f"**{PLACE}*", serve)
    await page.goto(PLACE)
    return page


async def start(page: Page, workflow: str, **fields: str) -> str:
    """Start a run by the debugger's form, and return its handler's id."""
    await page.get_by_role("combobox", name="Workflow:").click()
    await page.get_by_role("option", name=workflow, exact=True).click()
    for name, text in fields.items():
        await page.get_by_role("textbox", name=name).fill(text)
    async with page.expect_response("**/run-nowait") as answered:
        await page.get_by_role("button", name="Run Workflow").click()
    return str((await (await answered.value).json())["handler_id"])


async def reopen(page: Page, handler_id: str) -> None:
    """Choose one of the runs that the debugger lists; it shows the ends of their ids."""
    await page.get_by_role("button", name=handler_id[-8:]).click()


async def sees(page: Page, event: str) -> None:
    """Return when the page shows an event of this type."""
    await expect(page.get_by_role("table").get_by_text(event, exact=True).first).to_be_visible()


async def has_status(page: Page, status: str) -> None:
    """Return when the page says that its run has this status."""
    await expect(page.get_by_text(status, exact=True)).to_be_visible()


async def test_a_run_is_started_and_followed_to_its_end(server: DurableServer, debugger: Page) -> None:
    await start(debugger, "chain", Text="one two one", Gate="followed")
    await sees(debugger, "Parsed")
    await has_status(debugger, "running")
    server.ledger.open("followed")
    await sees(debugger, "Counted")
    await has_status(debugger, "completed")
    await expect(debugger.get_by_text('"one"').last).to_be_visible()


async def test_a_question_is_answered(server: DurableServer, debugger: Page) -> None:
    handler_id = await start(debugger, "ask")
    await sees(debugger, "Question")
    await debugger.get_by_role("button", name="Send Event").click()
    dialog = debugger.get_by_role("dialog")
    await dialog.get_by_role("combobox").first.click()
    await debugger.get_by_role("option", name="Verdict").click()
    await dialog.get_by_role("combobox").filter(has_text="False").click()
    await debugger.get_by_role("option", name="True").click()
    await dialog.get_by_role("textbox", name="Reviewer").fill("Ada")
    await dialog.get_by_role("button", name="Send Event").click()
    await has_status(debugger, "completed")
    assert await server.api.result(handler_id) == "sent, says Ada"


async def test_a_second_tab_and_a_reopened_run_show_the_same(server: DurableServer, debugger: Page) -> None:
    handler_id = await start(debugger, "chain", Gate="shared")
    await sees(debugger, "Parsed")
    second = await debugger.context.new_page()
    await second.goto(PLACE)
    await debugger.reload()
    for page in (debugger, second):
        await reopen(page, handler_id)
        await sees(page, "Parsed")
    server.ledger.open("shared")
    for page in (debugger, second):
        await sees(page, "Counted")
        await has_status(page, "completed")


async def test_a_run_that_has_ended_opens_with_its_status(
    server: DurableServer, debugger: Page, problems: Problems
) -> None:
    problems.allow(r"status of 500 .*/handlers/\w+\)$")
    for workflow, status in (("recovering", "completed"), ("failing", "failed")):
        handler_id = str((await server.api.start(workflow))["handler_id"])
        await server.api.finished(handler_id)
        await debugger.reload()
        await reopen(debugger, handler_id)
        await has_status(debugger, status)


async def test_a_run_is_followed_through_the_death_of_the_server(
    server: DurableServer, debugger: Page, problems: Problems
) -> None:
    await start(debugger, "chain", Gate="killed")
    await sees(debugger, "Parsed")
    async with down(server, problems):
        pass
    server.ledger.open("killed")
    await sees(debugger, "Counted")
    await has_status(debugger, "completed")
    await expect(debugger.get_by_role("table").get_by_text("Parsed", exact=True)).to_have_count(1)
