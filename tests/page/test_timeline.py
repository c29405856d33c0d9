"""The timeline of a run shows each execution, by mouse and by keyboard, and what its server survived."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.harness.browser import Problems, down, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import HERE

TIMED = str(HERE / "timed.py")


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[DurableServer]:
    """A server with the workflows of timed.py."""
    async with DurableServer(tmp_path, TIMED) as served:
        yield served


def timeline(page: Page) -> Locator:
    """The panel of the timeline."""
    return page.get_by_role("region", name="Timeline")


def details(page: Page) -> Locator:
    """The panel about the execution that is chosen."""
    return page.get_by_role("region", name="Selected execution")


async def test_a_crash_and_its_interrupted_calls_are_seen(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    handler_id = (await server.api.start("packing"))["handler_id"]
    await server.ledger.reached("packed")
    await page.goto(f"/#/runs/{handler_id}")
    legend = timeline(page).get_by_role("list", name="Legend")
    await expect(legend).to_have_text(re.compile(r"done\s*running\s*failed, tried again"))
    async with down(server, problems):
        await expect(page.get_by_text("not connected")).to_be_visible()
    await expect(legend).to_contain_text("interrupted")
    await timeline(page).get_by_role("group", name="Timeline of the steps").press("End")
    await expect(details(page)).to_contain_text(re.compile("running for .*begun again after an interruption"))
    server.ledger.open("packed", "shipped")
    await expect(legend.get_by_text("waits", exact=True)).to_be_visible()
    await screenshot(page, "timeline-crash")
    await server.api.wants("POST", f"/events/{handler_id}", {"event": {"type": "Approval", "value": {}}})
    await expect(legend.get_by_text("failed", exact=True)).to_be_visible()
    await timeline(page).get_by_role("group", name="Timeline of the steps").press("End")
    await expect(details(page)).to_contain_text(re.compile("^ship.*ConnectionError: the road is closed"))
    await details(page).get_by_text("Traceback", exact=True).click()
    await expect(details(page)).to_contain_text("in ship")
    assert await is_accessible(page, ".timeline-panel")
    history = (await server.api.wants("GET", f"/handlers/{handler_id}/history"))["history"]
    failed = next(entry for entry in history if entry["kind"] == "attempt_failed")
    moment = int(datetime.fromisoformat(failed["time"]).timestamp() * 1000)
    await page.goto(f"/#/runs/{handler_id}?at=step:pack&at=time:{moment}")
    await expect(details(page)).to_contain_text("TimeoutError: no answer from the robot")


async def test_executions_are_found_by_keyboard_and_by_mouse(server: DurableServer, page: Page) -> None:
    server.ledger.open("packed")
    handler_id = (await server.api.start("packing"))["handler_id"]
    await page.goto(f"/#/runs/{handler_id}")
    chart = timeline(page).get_by_role("group", name="Timeline of the steps")
    await expect(timeline(page).get_by_role("button", name="confirm", exact=True)).to_be_visible()
    await chart.press("Home")
    await expect(details(page)).to_contain_text(re.compile("^split.*done in .*StartEvent.*Item"))
    await chart.press("ArrowRight")
    await expect(details(page).get_by_role("heading")).to_have_text("pack")
    await expect(page).to_have_url(re.compile("at=execution"))
    await page.reload()
    await expect(details(page).get_by_role("heading")).to_have_text("pack")
    await chart.press("ArrowDown")
    await expect(details(page)).to_contain_text(re.compile("^confirm.*went to wait"))
    await expect(page.get_by_role("button", name=re.compile("^confirm:"))).to_have_attribute("aria-pressed", "true")
    await chart.press("Escape")
    await expect(details(page)).not_to_be_visible()

    everything = timeline(page).get_by_role("button", name="Show all of the timeline")
    await expect(everything).to_be_disabled()
    box = await timeline(page).locator("canvas").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 2, box["y"] + 50)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 60, steps=3)
    await page.mouse.up()
    await expect(everything).to_be_enabled()
    await chart.press("0")
    await expect(everything).to_be_disabled()
    await chart.press("Home")
    await details(page).get_by_role("button", name="Zoom to it").click()
    await expect(everything).to_be_enabled()
    await chart.press("Escape")
    lane = await timeline(page).get_by_role("button", name="split", exact=True).bounding_box()
    assert lane is not None
    await page.mouse.click(box["x"] + box["width"] / 2, lane["y"] + 12)
    await expect(details(page).get_by_role("heading")).to_have_text("split")


async def test_a_long_history_is_read_to_its_beginning(server: DurableServer, page: Page) -> None:
    handler_id = (await server.api.start("many", size=400))["handler_id"]
    await server.api.finished(handler_id)
    await page.goto(f"/#/runs/{handler_id}")
    graph = page.get_by_role("region", name="Graph")
    await expect(graph.get_by_role("button", name="handle: done × 400")).to_be_visible()
    await expect(graph.get_by_role("button", name=re.compile("find: done"))).to_be_visible()
    await timeline(page).get_by_role("group", name="Timeline of the steps").press("Home")
    await expect(details(page).get_by_role("heading")).to_have_text("find")


CONSISTENT = """async () => {
  const root = document.querySelector('script[type=module]').src.replace(/main\\.js.*/, '');
  const { createDerivation } = await import(`${root}views/run/executions.js`);
  const { lanesOf } = await import(`${root}views/run/timeline_layout.js`);
  const entries = [];
  let time = Date.UTC(2026, 2, 31);
  const note = (kind, more) => entries.push({
    cursor: `${entries.length}.0`, time: new Date(time).toISOString(), kind, run_id: 'run', step: null, event: null,
    sequence: entries.length, worker: null, attempt: null, duration: null, returned: null, until: null, error: null,
    traceback: null, question: null, reason: null, by: null, ...more });
  note('started', {});
  for (let index = 0; index < 10000; index += 1) {
    const about = { step: 'work', event: 'Item', worker: String(index % 8) };
    if (index >= 8) note('step_ended', { ...about, duration: 0.08, returned: 'Done' });
    note('step_began', about);
    time += 10;
  }
  const derived = (parts) => {
    const derivation = createDerivation();
    for (const part of parts) derivation.push(part);
    return derivation.value();
  };
  const parts = Array.from({ length: 41 }, (_, index) => entries.slice(index * 500, (index + 1) * 500));
  const whole = derived([entries]);
  const half = derived([entries.slice(10000)]);
  const rows = lanesOf({ ...whole, handler: null }).lanes[0].rows;
  return {
    asOne: JSON.stringify(whole) === JSON.stringify(derived(parts)),
    count: whole.executions.length,
    outcomes: [...new Set(whole.executions.map((one) => one.outcome))],
    rows: rows.length,
    overlaps: rows.some((row) => row.some((item, index) => index > 0 && row[index - 1].end > item.begin)),
    half: half.executions.every((one) => one.end === null || one.end - one.begin === 80),
  };
}"""


DOWN = """async (sign) => {
  const root = document.querySelector('script[type=module]').src.replace(/main\\.js.*/, '');
  const { createDerivation } = await import(`${root}views/run/executions.js`);
  const begin = Date.UTC(2026, 2, 31);
  const derivation = createDerivation();
  const note = (second, kind, more) => derivation.push([{ cursor: `${second}.0`, run_id: 'run', kind, worker: '0',
    time: new Date(begin + second * 1000).toISOString(), ...more }]);
  note(0, 'started', {});
  note(10, 'step_began', { step: 'work', event: 'Item' });
  const since = sign === null ? null : new Date(begin + sign * 1000).toISOString();
  note(60, 'resumed', { reason: 'crash', since });
  const { executions, spans } = derivation.value();
  return [...executions.map(({ end }) => (end - begin) / 1000), ...spans.map((span) => (span.begin - begin) / 1000)];
}"""


@pytest.mark.parametrize(("sign", "since"), [(40, 40), (8, 10), (None, 10), (70, 60)])
async def test_the_server_is_down_from_its_last_sign_of_life(
    server: DurableServer, page: Page, sign: int | None, since: int
) -> None:
    assert await page.evaluate(DOWN, sign) == [since, since]


async def test_ten_thousand_executions_are_derived_alike(server: DurableServer, page: Page) -> None:
    assert await page.evaluate(CONSISTENT) == {
        "asOne": True,
        "count": 10_000,
        "outcomes": ["done", "running"],
        "rows": 8,
        "overlaps": False,
        "half": True,
    }
