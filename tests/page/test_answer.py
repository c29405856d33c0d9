"""Answering: what a run waits for is asked above everything else, and is answered once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.harness.browser import Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.test_start import ORDERS


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), ORDERS) as served:
        yield served


async def asked(server: DurableServer, page: Page, *orders: str) -> str:
    """Start a run that asks about these orders, and go to it."""
    handler_id: str = (await server.api.start("asking", orders=list(orders)))["handler_id"]
    await page.goto(f"/#/runs/{handler_id}")
    return handler_id


async def sent(server: DurableServer, handler_id: str) -> int:
    """Return the number of events that clients have sent to a run."""
    history = await server.api.wants("GET", f"/handlers/{handler_id}/history?limit=500")
    return sum(entry["kind"] == "event_sent" for entry in history["history"])


async def test_a_question_is_answered_once(server: DurableServer, page: Page, problems: Problems) -> None:
    problems.allow("status of 400")
    handler_id = await asked(server, page, "A-17")
    card = page.get_by_role("region", name="Ship order A-17?")
    await expect(card).to_contain_text("asked just now")
    await expect(card).to_contain_text("left (until")
    await expect(card).to_contain_text("A-17 has 3 lines.")
    await expect(
        page.get_by_role("banner").or_(page.locator("main")).get_by_text("waits for Decision").first
    ).to_be_visible()
    # What the run requires is filled in, and not to be changed.
    await expect(card.get_by_role("textbox", name="order")).to_have_count(0)
    await expect(card.get_by_role("definition").filter(has_text="A-17").last).to_be_visible()
    assert await is_accessible(page)
    await screenshot(page, "run-asks", whole=True)
    await card.get_by_label("comment", exact=True).fill("a comment that is too long")
    await card.get_by_role("button", name="Send Decision").click()
    approved = card.get_by_role("radiogroup", name="approved")
    await expect(approved).to_have_accessible_description("Field required")
    await expect(approved.get_by_label("Yes")).to_be_focused()
    await expect(card.get_by_label("comment", exact=True)).to_have_attribute("aria-invalid", "true")
    await approved.get_by_label("Yes").check()
    await card.get_by_label("comment", exact=True).fill("fine")
    await card.get_by_role("button", name="Send Decision").dblclick()
    await expect(page.get_by_text("Decision sent.").first).to_be_visible()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("A-17: true")
    assert await sent(server, handler_id) == 1


async def lose(route: Route) -> None:
    """Lose the answer to a request on its way."""
    await route.fetch()
    await route.abort()


async def test_two_waits_are_two_cards_each_with_its_answer(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    problems.allow("net::ERR_FAILED")
    handler_id = await asked(server, page, "B-1", "B-2")
    first, second = (page.get_by_role("region", name=f"Ship order {order}?") for order in ("B-1", "B-2"))
    await second.get_by_label("No", exact=True).check()
    await page.route("**/events/*", lose, times=1)
    await second.get_by_role("button", name="Send Decision").click()
    await expect(page.get_by_text("Your answer has probably arrived")).to_be_visible()
    await expect(second).to_have_count(0)
    await first.get_by_role("button", name="JSON").click()
    await first.get_by_label("Decision as JSON").fill('{"approved": true, "order": "other"}')
    await first.get_by_role("button", name="Send Decision").click()
    await expect(page.get_by_role("region", name="Result")).to_contain_text("B-2: false")
    assert await server.api.result(handler_id) == {"B-1": True, "B-2": False}
    assert await sent(server, handler_id) == 2


async def test_an_answer_that_comes_too_late_says_so(server: DurableServer, page: Page, problems: Problems) -> None:
    problems.allow("status of 409")
    handler_id = await asked(server, page, "C-1")
    card = page.get_by_role("region", name="Ship order C-1?")
    await card.get_by_label("Yes").check()

    async def late(route: Route) -> None:
        await server.api.wants("POST", f"/handlers/{handler_id}/cancel")
        await route.continue_()

    await page.route("**/events/*", late, times=1)
    await card.get_by_role("button", name="Send Decision").click()
    note = page.get_by_role("status").filter(has_text="No longer asked: Ship order C-1? The run has ended.")
    await expect(note).to_contain_text("Not sent:")
    await expect(page.get_by_text("This run was cancelled.")).to_be_visible()
    await note.get_by_role("button", name="Close").click()
    await expect(note).to_have_count(0)


async def test_another_event_is_sent_to_one_step_once(
    server: DurableServer, open_page: Windows, problems: Problems
) -> None:
    problems.allow("net::ERR_FAILED")
    page = await open_page(server, phone=True, dark=True)
    handler_id = await asked(server, page, "D-1")
    await page.get_by_role("button", name="Send another event…").click()
    dialog = page.get_by_role("dialog", name="Send an event")
    types = await dialog.get_by_label("Event", exact=True).locator("option").all_text_contents()
    assert {"Decision", "Hint"} <= set(types)
    assert not {"Questions", "StopEvent"} & set(types)
    await dialog.get_by_label("Event", exact=True).select_option("Hint")
    await dialog.get_by_label("text", exact=True).fill("look closer")
    await dialog.get_by_role("combobox", name="Step").select_option("listen")
    assert await is_accessible(page)
    await page.route("**/events/*", lose, times=1)
    await dialog.get_by_role("button", name="Send Hint").click()
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("button", name="Send another event…")).to_be_focused()

    async def published() -> list[Any]:
        history = await server.api.wants("GET", f"/handlers/{handler_id}/history?limit=500&include=value")
        told = ("event_published", "Hint")
        return [entry["value"] for entry in history["history"] if (entry["kind"], entry["event"]) == told]

    await expect(page.get_by_role("region", name="Log")).to_contain_text("look closer")
    assert await published() == [{"text": "look closer"}]
    await page.get_by_role("button", name="Send another event…").click()
    await dialog.get_by_label("Event", exact=True).select_option("Decision")
    await dialog.get_by_role("radiogroup", name="approved").get_by_label("Yes").check()
    await dialog.get_by_label("order", exact=True).fill("none of these")
    await dialog.get_by_label("Hold it until a step waits for it").check()
    await dialog.get_by_role("button", name="Send Decision").click()
    await expect(page.get_by_text("1 event held until the run waits for it.")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
