"""The harness sees what goes wrong on a page; the tests of the page rest on that."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.harness.browser import LOST, Problems, Windows, down, first_paint, is_accessible
from tests.harness.server_process import DurableServer
from tests.page.conftest import FLOWS

PROVOKED = {
    "console.error('told')": r"^console error: told \(",
    "setTimeout(() => { throw new Error('thrown') })": r"^uncaught: thrown",
    "setTimeout(() => Promise.reject(new Error('rejected')))": r"^uncaught: rejected",
    "document.body.append(Object.assign(document.createElement('script'), {text: '1'}))": "Content Security Policy",
    "document.body.setAttribute('style', 'color: red')": "Content Security Policy",
    "document.body.append(Object.assign(new Image(), {src: 'https://example.org/'}))": r"to another server: GET https:",
    "fetch('/nothing-is-here')": r"^console error: .* status of 404 .*/nothing-is-here\)$",
    "location.href = 'http://127.0.0.1:9/'; return": r"^request to another server: GET http://127.0.0.1:9/$",
    "location.href = 'http://127.0.0.1:9/nobody'; return": r"^request failed: GET http://127.0.0.1:9/nobody: net::ERR",
    "fetch('/events/x', {method: 'BAD METHOD'})": r"^uncaught: .*not a valid HTTP method",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), FLOWS) as served:
        yield served


@pytest.mark.parametrize("script", PROVOKED)
async def test_a_problem_is_seen(page: Page, problems: Problems, script: str) -> None:
    assert problems.unexpected() == []
    await page.evaluate(f"async () => {{ {script}; await new Promise((done) => setTimeout(done, 200)) }}")
    await page.context.close()
    assert [told for told in problems.unexpected() if re.search(PROVOKED[script], told)]
    problems.allow("")


async def test_a_page_survives_the_death_of_its_server(server: DurableServer, page: Page, problems: Problems) -> None:
    url = server.api.url
    async with down(server, problems):
        assert await page.evaluate("fetch('/health').catch((error) => error.name)") == "TypeError"
    assert server.api.url == url
    assert await page.evaluate("fetch('/health').then((answer) => answer.status)") == 200
    problems.allow(LOST)


async def test_a_phone_in_the_dark_is_told_to_the_page(server: DurableServer, open_page: Windows) -> None:
    page = await open_page(server, phone=True, dark=True, reduced_motion=True)
    asked = "(queries) => queries.map((query) => matchMedia(query).matches)"
    queries = ["(max-width: 390px)", "(prefers-color-scheme: dark)", "(prefers-reduced-motion)", "(pointer: coarse)"]
    assert await page.evaluate(asked, queries) == [True] * 4


async def test_findings_of_the_scan_are_told_with_their_elements(page: Page) -> None:
    assert await is_accessible(page)
    await page.evaluate("document.body.insertAdjacentHTML('beforeend', '<button class=nameless></button>')")
    with pytest.raises(AssertionError, match=r"button-name \(critical\).*\n.*nameless"):
        await is_accessible(page)
    assert await is_accessible(page, "main")


async def test_the_first_paint_of_a_page_is_read(page: Page) -> None:
    assert await first_paint(page) > 0
