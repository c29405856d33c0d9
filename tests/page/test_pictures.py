"""Each view with runs of the examples in it, light and dark, wide and on a phone: the pictures of the documentation.

``PICTURES=docs/img scripts/test -n 0 tests/page/test_pictures.py`` writes those anew. ``SCREENSHOTS=FOLDER`` writes
each view in each window, from its top to its end.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.harness.browser import Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT
from tests.harness.waiting import until_seen

PICTURED = str(Path(__file__).parent / "pictured.py")
WINDOWS: Mapping[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}},
    "dark": {"viewport": {"width": 1280, "height": 860}, "dark": True},
    "phone": {"phone": True},
    "phone-dark": {"phone": True, "dark": True},
}
DOCUMENTED = {
    "runs-light": "runs",
    "run-asking-light": "run-waiting",
    "run-batch-light": "run",
    "run-failed-dark": "run-failed",
    "start-light": "start",
    "workflow-light": "workflow",
    "server-dark": "server",
    "runs-phone": "runs-phone",
}
"""The pictures of the documentation: files in docs/img by the view and its window."""


class Pictured(NamedTuple):
    """A server, and the ids of what is seen on it."""

    server: DurableServer
    asking: str
    batch: str
    failed: str


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pictured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pictured]:
    """A server with runs that have completed, failed, wait, and run."""
    text = (ROOT / "examples/data/proposal.md").read_text(encoding="utf-8")
    async with DurableServer(tmp_path_factory.mktemp("pictured"), PICTURED) as server:
        api = server.api
        for name in ("Ada", "Grace", "Hedy"):
            await api.wants("POST", "/workflows/hello/run", {"start_event": {"name": name}})
        review = {"start_event": {"title": "Proposal", "text": text}, "tags": ["team: editorial"]}
        batch = {"start_event": {"pause": 0.05}, "tags": ["nightly"]}
        handlers = [
            await api.wants("POST", "/workflows/document_review/run-nowait", review),
            await api.wants("POST", "/workflows/nightly_batch/run-nowait", batch),
            await api.wants("POST", "/workflows/order_import/run-nowait", {"tags": ["customer: 4711"]}),
        ]
        asking, done, failed = [handler["handler_id"] for handler in handlers]

        async def is_ready() -> bool:
            statuses = [(await api.handler(each))["status"] for each in (done, failed)]
            return bool((await api.handler(asking))["waiting_for"]) and statuses == ["completed", "failed"]

        await until_seen(is_ready, "the runs have ended, or wait")
        slow = {"start_event": {"day": "2026-04-01", "pause": 8}, "tags": ["nightly"]}
        await api.wants("POST", "/workflows/nightly_batch/run-nowait", slow)
        yield Pictured(server, asking, done, failed)


@pytest.mark.parametrize("window", WINDOWS)
async def test_every_view_is_seen(pictured: Pictured, open_page: Windows, window: str) -> None:
    page = await open_page(pictured.server, "/#/runs", **WINDOWS[window])
    await expect(page.get_by_text("Publish the review of 'Proposal'?").first).to_be_visible()
    await expect(page.get_by_text("posted 22 · total 6776.25")).to_be_visible()
    await expect(page.get_by_text(re.compile("^post( × [23])?$"))).to_be_visible()
    await _seen(page, f"runs-{window}")
    await page.goto(f"/#/runs/{pictured.asking}")
    await expect(page.get_by_role("button", name="Send Approval")).to_be_visible()
    graph = page.get_by_role("region", name="Graph")
    await expect(graph.get_by_role("button", name="publish: waits for")).to_be_attached()
    await expect(page.get_by_role("region", name="Timeline").get_by_text("waits", exact=True)).to_be_visible()
    await _seen(page, f"run-asking-{window}")
    await page.goto(f"/#/runs/{pictured.batch}")
    await expect(page.get_by_role("listbox", name="Events").get_by_text("InvoiceSettled").first).to_be_visible()
    await expect(graph.get_by_text("done × 22")).to_be_visible()
    await _seen(page, f"run-batch-{window}")
    await page.goto(f"/#/runs/{pictured.failed}")
    await expect(page.get_by_text(re.compile("KeyError.*customer")).first).to_be_visible()
    await _seen(page, f"run-failed-{window}")
    await page.goto("/#/start/document_review")
    await expect(page.get_by_role("textbox", name="text")).to_be_visible()
    await _seen(page, f"start-{window}")
    await page.goto("/#/workflows")
    await expect(page.get_by_role("article").filter(has_text="hello")).to_contain_text("100 %")
    await _seen(page, f"workflows-{window}")
    await page.goto("/#/workflows/nightly_batch")
    await expect(page.get_by_role("img", name=re.compile("Runs over time")).locator("canvas")).to_be_visible()
    await expect(graph.get_by_text("InvoiceDue").first).to_be_visible()
    await _seen(page, f"workflow-{window}")
    await page.goto("/#/server")
    await expect(page.get_by_text("healthy")).to_be_visible()
    await expect(page.get_by_role("img", name=re.compile("^A commit takes .* now [0-9]"))).to_be_visible()
    await _seen(page, f"server-{window}")


async def _seen(page: Page, name: str) -> None:
    """A view does not scroll sideways, is accessible, and has its picture taken."""
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"
    assert await is_accessible(page)
    await screenshot(page, name, whole=True)
    folder = os.environ.get("PICTURES")
    if folder and name in DOCUMENTED:
        await page.evaluate("scrollTo(0, 0)")
        clip = await page.evaluate(_CONTENT)
        await page.screenshot(path=Path(folder) / f"{DOCUMENTED[name]}.png", clip=clip, animations="disabled")


_CONTENT = """() => {
  const end = document.querySelector("main").getBoundingClientRect().bottom;
  return {x: 0, y: 0, width: innerWidth, height: Math.min(innerHeight, Math.ceil(end))};
}"""
"""The part of the window that has something in it."""
