"""``scripts/pages``: the first paint of the page, its bytes, and runs beside open pages."""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from benchmark.client import connections
from benchmark.environments import this_build
from benchmark.measuring import THIS
from benchmark.runs import by_clients
from benchmark.subjects import Served, of_build, serving
from benchmark.workload import Meter

DESCRIPTION = """\
Makes handlers, and measures in a real browser the first contentful paint of the list, and the time until its rows are
there. Then 32 clients start runs of three steps and wait for their ends, in turn without open pages and with some:
every second one shows the list of runs, the others the server. The browser works on the same cores; what the server
spends itself for each run is its CPU time.
"""
CLIENTS = 32
PATH = "/workflows/three_steps/run"
PAINT = (
    "new Promise((told) => new PerformanceObserver((list) => { for (const entry of list.getEntries()) "
    "if (entry.name === 'first-contentful-paint') told(entry.startTime) }).observe({type: 'paint', buffered: true}))"
)
BYTES = "performance.getEntriesByType('resource').reduce((sum, entry) => sum + entry.encodedBodySize, 0)"


def main() -> None:
    """Do what the options say."""
    parser = argparse.ArgumentParser(
        prog="scripts/pages", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--handlers", type=int, default=10_000, help="handlers that are made before")
    parser.add_argument("--pages", type=int, default=10, help="pages that are open")
    parser.add_argument("--runs", type=int, default=1_500, help="runs of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:
        asyncio.run(_measure(options, Path(folder)))


async def _measure(options: argparse.Namespace, folder: Path) -> None:
    subject = of_build(THIS, this_build())
    async with serving(subject, folder / "server", {}) as served, _chromium() as browser:
        await _start(served, options.handlers)
        await _paint(served, browser, options.rounds)
        rows: list[tuple[float, float, float, float]] = []
        for _ in range(options.rounds):
            alone = await _run(served, options.runs)
            async with _pages(served, browser, options.pages):
                beside = await _run(served, options.runs)
            rows.append((*alone, *beside))
            print(
                f"without pages {alone[0]:6.0f} runs/s, {alone[1]:.3f} CPU ms a run; with {options.pages} pages "
                f"{beside[0]:6.0f} runs/s, {beside[1]:.3f} CPU ms a run",
                flush=True,
            )
        rates = statistics.median(row[2] / row[0] for row in rows)
        work = statistics.median(row[3] / row[1] for row in rows)
        print(f"ratios of pages: rate {rates:.2f}, CPU of the server {work:.2f}")


@asynccontextmanager
async def _chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=os.environ["CHROMIUM"])
        try:
            yield browser
        finally:
            await browser.close()


async def _start(served: Served, count: int) -> None:
    async with connections(served.url, CLIENTS) as opened:
        await by_clients(opened, count, lambda connection, _: connection.post(PATH, {"start_event": {}}))


async def _run(served: Served, count: int) -> tuple[float, float]:
    with Meter(served) as meter:
        await _start(served, count)
    sample = meter.rate(count)
    return sample.value, sample.cpu


async def _paint(served: Served, browser: Browser, rounds: int) -> None:
    paints, rows, size = [], [], 0
    for _ in range(rounds):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(served.url)
        paints.append(float(await page.evaluate(PAINT)))
        await page.get_by_role("row").nth(20).wait_for()
        rows.append(float(await page.evaluate("performance.now()")))
        size = int(await page.evaluate(BYTES))
        await context.close()
    print(
        f"first contentful paint {statistics.median(paints):.0f} ms, rows of the list after "
        f"{statistics.median(rows):.0f} ms, {size:,} bytes were loaded",
        flush=True,
    )


@asynccontextmanager
async def _pages(served: Served, browser: Browser, number: int) -> AsyncIterator[None]:
    try:
        for place in range(number):
            # Each has a browser of its own, as far as connections are concerned: a browser has six for one server.
            context = await browser.new_context()
            page = await context.new_page()
            await page.goto(f"{served.url}/#/{('runs', 'server')[place % 2]}")
            await page.get_by_role("heading", level=1).wait_for(state="attached")
        yield
    finally:
        for opened in browser.contexts:
            await opened.close()


if __name__ == "__main__":
    main()
