"""The page opens wherever it is opened, and asks for a token where the server has some."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.harness.browser import Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import FLOWS
from workflow_server.web.access.token_file import add_token

WINDOWS: dict[str, dict[str, Any]] = {
    "wide": {},
    "wide-dark": {"dark": True},
    "phone": {"phone": True},
    "phone-dark": {"phone": True, "dark": True, "reduced_motion": True},
}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the server's tokens."""
    return tmp_path_factory.mktemp("tokens") / "tokens.jsonl"


@pytest.fixture(scope="module")
def token(tokens: Path) -> str:
    """A token that may do all."""
    return add_token(tokens, "ada", "full")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory, tokens: Path, token: str) -> AsyncIterator[DurableServer]:
    """A server that wants a token."""
    assert token
    async with DurableServer(tmp_path_factory.mktemp("guarded"), FLOWS, "--token-file", str(tokens)) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """A server that wants none."""
    async with DurableServer(tmp_path_factory.mktemp("open"), FLOWS) as served:
        yield served


@pytest.mark.parametrize("window", WINDOWS)
async def test_the_page_opens_without_a_problem(server: DurableServer, open_page: Windows, window: str) -> None:
    page = await open_page(server, **WINDOWS[window])
    await expect(page).to_have_title(re.compile("workflow_server"))
    await expect(page.get_by_role("main")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert await is_accessible(page)
    await screenshot(page, f"opened-{window}")


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_token_opens_the_page(
    guarded: DurableServer, open_page: Windows, problems: Problems, token: str, window: str
) -> None:
    problems.allow("status of 401")
    page = await open_page(guarded, **WINDOWS[window])
    assert await is_accessible(page)
    await screenshot(page, f"sign-in-{window}")
    await expect(page.get_by_label("Token")).to_be_focused()
    await page.keyboard.type(token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Token")).to_have_count(0)
    await expect(page.get_by_role("main")).to_be_visible()
    assert await page.evaluate("fetch('/handlers').then((answer) => answer.status)") == 200
    assert await page.evaluate("document.cookie") == ""


async def test_a_wrong_token_is_told(guarded: DurableServer, open_page: Windows, problems: Problems) -> None:
    problems.allow("status of 401")
    page = await open_page(guarded)
    await page.get_by_label("Token").fill("not-a-token")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("output")).to_contain_text("token")
    await expect(page.get_by_label("Token")).to_have_value("not-a-token")
