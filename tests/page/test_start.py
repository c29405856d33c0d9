"""Starting a run: the form of a workflow's input, and the same as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.harness.browser import Problems, Windows, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.page.conftest import HERE

ORDERS = str(HERE / "orders.py")
ORDER: dict[str, Any] = {
    "customer": "Ada", "express": True, "lines": [{"sku": "A1"}], "pay": {"kind": "card", "number": "1234"},
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("server"), ORDERS) as served:
        yield served


async def started(page: Page) -> str:
    """Wait until the page is at a run, and return its handler's id."""
    await page.wait_for_url("**/#/runs/*")
    return page.url.rpartition("/")[2]


async def text_of(server: DurableServer, handler_id: str) -> str:
    """Return the handler as the server wrote it: Python's numbers are as exact as its text."""
    await server.api.finished(handler_id)
    return json.dumps(await server.api.handler(handler_id))


async def fill_order(page: Page) -> None:
    await page.get_by_label("customer", exact=True).fill("Ada")
    await page.get_by_role("radiogroup", name="express").get_by_label("Yes").check()
    await page.get_by_label("sku", exact=True).first.fill("A1")
    await page.get_by_label("Kind of pay", exact=True).select_option("Card")
    await page.get_by_role("textbox", name="number", exact=True).last.fill("1234")


async def test_a_run_is_started_by_form_and_json(server: DurableServer, page: Page) -> None:
    await page.get_by_role("banner").get_by_role("link", name="Start a run").click()
    await page.get_by_role("link", name="orders").click()
    await expect(page.get_by_role("heading", name="orders")).to_be_visible()
    await fill_order(page)
    await page.get_by_role("button", name="Add an item to lines").click()
    await page.keyboard.type("B2")
    await page.get_by_role("button", name="Move item 2 of lines up").click()
    await expect(page.get_by_label("sku", exact=True).first).to_have_value("B2")
    await page.get_by_role("button", name="Set tree").click()
    await page.get_by_role("group", name="tree").get_by_label("name", exact=True).fill("root")
    await page.get_by_role("button", name="Add an item to below").click()
    await page.keyboard.type("leaf")
    await page.get_by_role("button", name="Add an entry to labels").click()
    await page.keyboard.type("size")
    await page.keyboard.press("Tab")
    await page.get_by_label("size", exact=True).fill("3")
    await page.get_by_label("Kind of payload").select_option("JSON")
    await page.get_by_label("payload", exact=True).fill('{"deep": [-0, 1.0, 12345678901234567]}')
    assert await is_accessible(page)
    await page.get_by_role("button", name="JSON").click()
    shown = json.loads(await page.get_by_label("Input as JSON").input_value())
    assert shown["lines"] == [{"quantity": 1, "sku": "B2"}, {"quantity": 1, "sku": "A1"}]
    assert shown["tree"] == {"name": "root", "below": [{"name": "leaf", "below": []}]}
    assert shown["number"] == 9007199254740993
    await page.get_by_label("Input as JSON").fill(json.dumps({**shown, "note": "from the JSON"}))
    await page.get_by_role("button", name="Form").click()
    await expect(page.get_by_label("note", exact=True)).to_have_value("from the JSON")
    await page.get_by_role("button", name="Start", exact=True).click()
    handler_id = await started(page)
    text = await text_of(server, handler_id)
    for part in ('"number": 9007199254740993', '"ratio": 1.0', '"deep": [0, 1.0, 12345678901234567]', '"size": 3'):
        assert part in text
    await expect(page.get_by_role("region", name="Result")).to_contain_text("from the JSON")


async def test_the_servers_messages_stand_at_their_fields(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    problems.allow("status of 400")
    await page.goto("/#/start/orders")
    ratio = page.get_by_label("ratio")
    await ratio.fill("61")
    await expect(page.get_by_text("At most 60 is expected.")).to_be_visible()
    await page.get_by_text("Options", exact=True).click()
    await page.get_by_label("Tags").fill("x" * 101)
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_label("Tags")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Tags").fill("mine, other")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_label("customer", exact=True)).to_be_focused()
    for name in ("customer", "ratio", "sku"):
        field = page.get_by_label(name, exact=True).first
        await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(ratio).to_have_accessible_description("0 to 60 Input should be less than or equal to 60")
    await expect(page.get_by_role("alert")).to_contain_text("the marked fields need another value")
    await screenshot(page, "start-refused", whole=True)
    await ratio.fill("6e1")
    await expect(ratio).not_to_have_attribute("aria-invalid", "true")
    await fill_order(page)
    await page.get_by_role("button", name="Start", exact=True).click()
    handler = await server.api.handler(await started(page))
    assert handler["tags"] == ["mine", "other"]


async def test_what_is_no_json_says_where_and_stays(page: Page) -> None:
    await page.goto("/#/start/orders")
    await page.get_by_role("button", name="JSON").click()
    json_side = page.get_by_label("Input as JSON")
    await json_side.fill('{"customer": "Ada",\n "express" true}')
    await expect(page.get_by_text("Line 2, column 12: expected ':' after the key")).to_be_visible()
    await expect(page.get_by_role("button", name="Form")).to_be_disabled()
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(json_side).to_be_focused()
    await expect(json_side).to_have_value('{"customer": "Ada",\n "express" true}')
    await json_side.fill('{"customer": 7, "lines": "none", "pay": {"kind": "barter"}, "beside": [1.0]}')
    await page.get_by_role("button", name="Form").click()
    await expect(page.get_by_label("lines", exact=True)).to_have_value('"none"')
    await page.get_by_label("note", exact=True).fill("x")
    await page.get_by_role("button", name="JSON").click()
    kept = {"customer": 7, "lines": "none", "pay": {"kind": "barter"}, "beside": [1.0], "note": "x"}
    await expect(json_side).to_have_value(json.dumps(kept, indent=2))


async def test_a_retry_after_a_lost_answer_starts_nothing_twice(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    problems.allow("net::ERR_FAILED")

    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    await page.route("**/run-nowait", lose, times=1)
    await page.goto("/#/start/bare")
    await expect(page.get_by_text("This workflow declares no fields.")).to_be_visible()
    await page.get_by_role("button", name="Add a field to Input").click()
    await page.keyboard.type("lost")
    await page.keyboard.press("Tab")
    await page.get_by_label("lost", exact=True).fill("yes")
    await page.get_by_role("button", name="Start", exact=True).dblclick()
    await page.get_by_role("button", name="Try again").click()
    handler_id = await started(page)
    assert await server.api.result(handler_id) == {"lost": "yes"}
    listed = await server.api.wants("GET", "/handlers?workflow_name=bare")
    assert [handler["handler_id"] for handler in listed["handlers"]] == [handler_id]


async def test_a_text_file_fills_a_text_field(page: Page, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Ada,\n" * 30)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\xff")
    await page.goto("/#/start/orders")
    text = page.get_by_label("text", exact=True)
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Take text from a text file").click()
    await (await chooser.value).set_files(tmp_path / "letter.txt")
    await expect(text).to_have_value("Dear Ada,\n" * 30)
    await expect(page.get_by_text("From letter.txt, 300 B")).to_be_visible()
    dropped = await page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['dropped'], 'a.md')); return data }"
    )
    await text.dispatch_event("drop", {"dataTransfer": dropped})
    await expect(text).to_have_value("dropped")
    async with page.expect_file_chooser() as chooser:
        await page.get_by_role("button", name="Take text from a text file").click()
    await (await chooser.value).set_files(tmp_path / "image.png")
    await expect(page.get_by_text("image.png is not a text file in UTF-8.")).to_be_visible()
    await expect(text).to_have_value("dropped")


async def test_a_run_is_started_again_with_the_same_input(
    server: DurableServer, page: Page, open_page: Windows
) -> None:
    handler = await server.api.start("orders", **ORDER, number=12345678901234567, note="as before")
    await server.api.finished(handler["handler_id"])
    await page.goto(f"/#/runs/{handler['handler_id']}")
    await page.get_by_role("link", name="Start again").click()
    await expect(page.get_by_label("note", exact=True)).to_have_value("as before")
    await expect(page.get_by_role("textbox", name="number", exact=True).first).to_have_value("12345678901234567")
    await page.get_by_label("customer", exact=True).fill("Eve")
    await page.get_by_role("button", name="Start", exact=True).click()
    text = await text_of(server, await started(page))
    assert '"number": 12345678901234567' in text
    assert '"customer": "Eve"' in text
    phone = await open_page(server, "/#/start/orders", phone=True, dark=True)
    await expect(phone.get_by_label("customer", exact=True)).to_be_visible()
    assert await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await is_accessible(phone)
    await screenshot(phone, "start-phone-dark", whole=True)


async def test_a_continued_run_starts_again_with_its_last_input(server: DurableServer, page: Page) -> None:
    first = await server.api.start("bare", text="the first")
    handler_id = (await server.api.finished(first["handler_id"]))["handler_id"]
    body = {"handler_id": handler_id, "start_event": {"text": "the second"}}
    await server.api.wants("POST", "/workflows/bare/run", body)
    await page.goto(f"/#/runs/{handler_id}")
    await page.get_by_role("link", name="Start again").click()
    await expect(page.get_by_text(f"With the input of run {handler_id}.")).to_be_visible()
    await page.get_by_role("button", name="Start", exact=True).click()
    assert "the second" in await text_of(server, await started(page))


async def test_a_secret_is_asked_for_when_a_run_starts_again(server: DurableServer, page: Page) -> None:
    handler_id = (await server.api.start("signing", key="the key"))["handler_id"]
    await page.goto(f"/#/start/signing?from={handler_id}")
    key = page.get_by_label("key", exact=True)
    await expect(key).to_have_accessible_description("Secrets are not shown again: enter it anew.")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(key).to_be_focused()
    await expect(page).to_have_url(re.compile("/start/signing"))
    await key.fill("the key again")
    await page.get_by_role("button", name="Start", exact=True).click()
    assert "13 characters" in await text_of(server, await started(page))
