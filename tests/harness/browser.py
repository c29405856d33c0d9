"""The browser of the tests of the page: its windows, what goes wrong in them, and what is read of them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    WebError,
    async_playwright,
    expect,
)

from tests.harness.server_process import DurableServer
from tests.harness.spawning import ROOT

PATIENCE = 30_000
"""Milliseconds after which what a test waits for will not come any more."""
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
"""The options of a window as a phone has it."""
LOST = r"net::ERR_(CONNECTION_\w+|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|NETWORK_\w+|SOCKET_NOT_CONNECTED)"
"""The problems that the death of a server makes."""

_LEFT = "net::ERR_ABORTED"
"""The failure of a request that the page itself gave up, as when it is closed."""
_HERE_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_SCAN = """async (within) => {
  const found = await axe.run(within ?? document, {resultTypes: ["violations"]});
  return found.violations.map(({id, impact, help, nodes}) => ({id, impact, help, nodes: nodes.map((n) => n.html)}));
}"""
_FIRST_PAINT = """() => new Promise((resolve) => {
  const told = (entries) => {
    const paint = entries.find(({name}) => name === "first-contentful-paint");
    if (paint) resolve(paint.startTime);
  };
  new PerformanceObserver((list) => told(list.getEntries())).observe({type: "paint", buffered: true});
})"""

expect.set_options(timeout=PATIENCE)


class NoBrowser(AssertionError):
    """No Chromium starts on this machine; the message says what to do."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the Chromium that ``scripts/chromium`` finds, which reaches this machine and no other.

    Raises:
        NoBrowser: there is none.
    """
    async with async_playwright() as playwright:
        browser = await _launch(playwright)
        try:
            yield browser
        finally:
            await browser.close()


async def _launch(playwright: Playwright) -> Browser:
    path = os.environ.get("CHROMIUM") or await asyncio.to_thread(_found)
    return await playwright.chromium.launch(executable_path=path, args=[_HERE_ALONE])


def _found() -> str:
    found = subprocess.run([ROOT / "scripts/chromium", "--found"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise NoBrowser(found.stderr.strip())
    return found.stdout.strip()


class Problems:
    """Problems on the pages of a test: errors on their consoles, exceptions that nothing caught, requests that failed,
    and requests to another server than the test's own. A violation of the page's policy is an error on the console,
    and so is an answer with an error's status."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._allowed: list[str] = []

    def allow(self, *patterns: str) -> None:
        """Expect problems in which one of these regular expressions is found, whenever they came or come."""
        self._allowed += patterns

    def unexpected(self) -> list[str]:
        """Return the problems that nothing allows."""
        return [problem for problem in self._found if not any(re.search(allowed, problem) for allowed in self._allowed)]

    def watch(self, context: BrowserContext, origin: str) -> None:
        """Note the problems of all windows of a context, in which everything has to come from this origin."""

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self._found.append(f"console error: {message.text} ({message.location['url']})")

        def on_error(error: WebError) -> None:
            self._found.append(f"uncaught: {error.error}")

        def on_request(request: Request) -> None:
            if not request.url.startswith((f"{origin}/", "data:", "blob:")):
                self._found.append(f"request to another server: {request.method} {request.url}")

        def on_failed(request: Request) -> None:
            if request.failure != _LEFT:
                self._found.append(f"request failed: {request.method} {request.url}: {request.failure}")

        context.on("console", on_console)
        context.on("weberror", on_error)
        context.on("request", on_request)
        context.on("requestfailed", on_failed)


class Windows:
    """The windows that a test opens, each with cookies and storage of its own."""

    def __init__(self, browser: Browser, problems: Problems) -> None:
        self._browser = browser
        self._problems = problems
        self._contexts: list[BrowserContext] = []

    async def __call__(
        self,
        server: DurableServer,
        path: str | None = "/",
        *,
        phone: bool = False,
        dark: bool = False,
        reduced_motion: bool = False,
        **context: Any,
    ) -> Page:
        """Open a window on a server's page, or on an empty one where ``path`` is None.

        ``page.goto`` takes paths of the same server. Further options are those of Playwright's ``new_context``.
        """
        opened = await self._browser.new_context(
            **{
                "base_url": server.api.url,
                "color_scheme": "dark" if dark else "light",
                "reduced_motion": "reduce" if reduced_motion else "no-preference",
                "service_workers": "block",
                "locale": "en-GB",
                "timezone_id": "UTC",
                **(PHONE if phone else {"viewport": {"width": 1280, "height": 800}}),
                **context,
            }
        )
        opened.set_default_timeout(PATIENCE)
        self._contexts.append(opened)
        self._problems.watch(opened, server.api.url)
        page = await opened.new_page()
        if path is not None:
            await page.goto(path)
        return page

    async def close(self) -> None:
        """Close them all."""
        for context in self._contexts:
            await context.close()


@asynccontextmanager
async def down(server: DurableServer, problems: Problems) -> AsyncIterator[None]:
    """Kill a server while pages are open, and start it again at the end, on the same port and file."""
    port = server.port
    problems.allow(LOST)
    await server.kill()
    yield
    await server.start(port=str(port))


async def screenshot(page: Page, name: str, *, whole: bool = False) -> None:
    """Write ``NAME.png`` into the folder that the variable SCREENSHOTS names, if any: the window, or the whole page."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole, animations="disabled")


async def is_accessible(page: Page, within: str | None = None) -> bool:
    """Return True where axe-core finds nothing serious or critical on a page, or within this selector.

    Raises:
        AssertionError: it does; the message has each finding with the elements that it is about.
    """
    if not await page.evaluate("() => 'axe' in window"):
        await page.evaluate(_axe())
    findings = await page.evaluate(_SCAN, within)
    serious = [f"{f['id']} ({f['impact']}): {f['help']}\n    " + "\n    ".join(f["nodes"]) for f in findings]
    serious = [text for text, finding in zip(serious, findings, strict=True) if finding["impact"] in _SERIOUS]
    assert not serious, f"{len(serious)} findings of axe-core on {page.url}:\n" + "\n".join(serious)
    return True


_SERIOUS = ("serious", "critical")


def _axe() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


async def first_paint(page: Page) -> float:
    """Return the milliseconds from the start of the navigation until the page showed something."""
    return float(await page.evaluate(_FIRST_PAINT))
