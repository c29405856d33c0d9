"""Fixtures of the tests that use the page as people do, in a real browser and on real servers.

A test takes ``page``, which is Playwright's (asynchronous) page of a new window at ``/`` of ``server``, and finds
things by role and name, as its reader does:

    async def test_a_failed_run_tells_its_error(server: DurableServer, page: Page) -> None:
        handler = await server.api.start("failing")
        await page.get_by_role("link", name=handler["handler_id"]).click()
        await expect(page.get_by_role("alert")).to_contain_text("no such document")

``expect`` and every action wait by themselves. A test fails at its end where its pages had problems: an error on the
console (a violation of the page's policy and an answer of 4xx or 5xx are such), an exception, a request that failed or
went to another server. ``problems.allow("status of 409")`` expects those in which a regular expression is found.

``server`` serves flows.py with an empty database, anew for each test. Starting one takes a second of CPU: a file whose
tests can share one says so, and ``page`` then is a page of that:

    @pytest_asyncio.fixture(scope="module", loop_scope="session")
    async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
        async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
            yield served

Every asynchronous fixture of this folder needs ``loop_scope="session"``. ``examples`` is a server of the examples.
Other windows, on any server, come of ``open_page``; each has cookies and storage of its own:

    page = await open_page(examples, "/", phone=True, dark=True, reduced_motion=True)

tests/harness/browser.py has what else is needed: ``down(server, problems)``, within which a server is dead while its
pages are open; ``screenshot(page, "run-dark")``, which writes where the variable SCREENSHOTS names a folder;
``is_accessible(page)``, a scan by axe-core; and ``first_paint(page)``. tests/page/seeds.py fills databases: 10,000
handlers, a run of 10,000 executions of steps, and one of 100,000 events.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.harness.browser import Problems, Windows, chromium
from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT

HERE = Path(__file__).parent
EXAMPLES = str(ROOT / "examples" / "app.py")
FLOWS = str(HERE / "flows.py")

sys.path.insert(0, str(ROOT / "scripts"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder in one event loop, in which the browser lives."""
    for item in items:
        if HERE in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser, which each process of the tests starts once."""
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    """A server with the workflows of flows.py, and nothing in its database."""
    async with DurableServer(tmp_path, FLOWS) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def examples(tmp_path: Path) -> AsyncIterator[DurableServer]:
    """A server with the examples, and nothing in its database."""
    async with DurableServer(tmp_path, EXAMPLES) as served:
        yield served


@pytest.fixture
def problems() -> Problems:
    """Problems on the pages of the test, of which none may be left that it does not allow."""
    return Problems()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, problems: Problems) -> AsyncIterator[Windows]:
    """Open windows: ``await open_page(server, "/", phone=True, dark=True)``."""
    windows = Windows(browser, problems)
    yield windows
    await windows.close()
    found = problems.unexpected()
    if found:
        pytest.fail("The pages had problems:\n" + "\n".join(found), pytrace=False)


@pytest_asyncio.fixture(loop_scope="session")
async def page(server: DurableServer, open_page: Windows) -> Page:
    """The page of ``server``, in a window of its own."""
    return await open_page(server)
