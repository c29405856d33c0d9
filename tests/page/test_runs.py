"""The list of runs: what it tells, how it is narrowed, that it is live, and actions on many runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from tests.harness.api import Json
from tests.harness.browser import LOST, Problems, Windows, down, is_accessible, screenshot
from tests.harness.server_process import DurableServer
from tests.harness.waiting import until_seen
from tests.page.conftest import HERE
from tests.page.seeds import begin_earlier

FLOWS = str(HERE / "runs_flows.py")
HOSTILE = "<img src=x onerror=alert(1)>"
FULL, READ = "a-token-that-may-do-all", "a-token-that-may-read"
BEHIND = "Object.defineProperty(document, 'hidden', {get: () => !globalThis.isSeen})"
"""Makes a tab one that was opened behind others, until it is seen."""
ENDED = "status=completed&status=failed&status=cancelled"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DurableServer]:
    """One server for all tests of this file."""
    async with DurableServer(tmp_path_factory.mktemp("runs"), FLOWS) as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def server(shared: DurableServer) -> AsyncIterator[DurableServer]:
    """The server, with no runs."""
    yield shared
    await shared.api.wants("POST", f"/bulk/cancel?purge=true&running=true&status=running&{ENDED}")
    for opened in (shared.folder / "gates").iterdir():
        opened.unlink()


async def start(server: DurableServer, workflow: str, *tags: str, **fields: object) -> str:
    """Start a run, and return its handler's id."""
    body = {"start_event": fields, "tags": tags}
    handler: Json = await server.api.wants("POST", f"/workflows/{workflow}/run-nowait", body)
    return str(handler["handler_id"])


async def start_many(server: DurableServer, number: int, workflow: str = "greeting", *tags: str) -> list[str]:
    """Start runs that end by themselves, and wait for their ends."""
    ids = [await start(server, workflow, *tags) for _ in range(number)]
    await asyncio.gather(*[server.api.finished(one) for one in ids])
    return ids


async def asked(server: DurableServer, question: str, *tags: str, times: int = 1) -> str:
    """Start a run that waits for an answer, and return its handler's id when it waits."""
    handler = await start(server, "asking", *tags, question=question, times=times)

    async def waits() -> bool:
        return bool((await server.api.handler(handler))["waiting_for"])

    await until_seen(waits, "the run does not wait")
    return handler


def row(page: Page, handler: str) -> Locator:
    """The row of a run."""
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=handler))


def view(page: Page, name: str) -> Locator:
    """The link with the count of a view."""
    return page.get_by_role("navigation", name="Runs by status").get_by_role("link", name=re.compile(name))


async def ids(page: Page) -> list[str]:
    """The handlers of the list, in its order."""
    links = page.locator("a[data-run]")
    return [str(await link.get_attribute("data-run")) for link in await links.all()]


async def test_the_list_tells_where_runs_stand_and_follows(server: DurableServer, page: Page) -> None:
    await expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    waiting = await asked(server, "Publish it?", "team: editorial")
    await expect(row(page, waiting)).to_contain_text("“Publish it?” · Answer")
    searching = await start(server, "searching")
    await expect(row(page, searching)).to_contain_text("search × 3")
    failed = (await start_many(server, 1, "importing"))[0]
    await expect(row(page, failed)).to_contain_text("KeyError: 'customer' · in step read_row")
    greeted = (await start_many(server, 1))[0]
    await expect(row(page, greeted)).to_contain_text("Hello, world!")
    assert await ids(page) == [greeted, failed, searching, waiting]
    for name in ("4 all", "1 running", "1 waiting for you", "1 failed", "1 completed"):
        await expect(view(page, name)).to_be_visible()
    await screenshot(page, "runs")

    # Each goes on under the eyes of the reader.
    server.ledger.open("search")
    await expect(row(page, searching)).to_contain_text("3 found")
    await expect(row(page, searching)).to_contain_text("completed")
    await view(page, "waiting for you").click()
    await expect(page.get_by_role("row")).to_have_count(2)
    await expect(row(page, waiting)).to_contain_text("team: editorial")
    await server.api.send(waiting, "Answer", name="Ada")
    await expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    await page.get_by_role("link", name="Show all runs").click()
    await expect(row(page, waiting)).to_contain_text("answered by Ada")


PHRASES = {
    '{"posted":22,"total":"67.25","rejected":[["a"],["b"]]}': "posted 22 · total 67.25 · rejected 2 items",
    '{"approved":true,"report":"# Of \\"A\\"\\nyes, {…': 'approved true · report # Of "A" yes, {…',
    '{"id":12345678901234567890,"at":{"x":1.50,"y":[]},"none":null,"empty":""}': (
        "id 12345678901234567890 · at { x, y } · none null · empty (empty text)"
    ),
    '{"a":[1,{"b":"}"},2…': '{"a":[1,{"b":"}"},2…',
    '{"a":1} is what it took': '{"a":1} is what it took',
    "Hello, {you}!": "Hello, {you}!",
}


async def test_fields_of_a_result_are_told_as_a_phrase(page: Page) -> None:
    module = "import('/static/0123456789abcdef/views/runs/result.js')"
    told = await page.evaluate(f"async (all) => all.map((await {module}).resultInWords)", list(PHRASES))
    assert dict(zip(PHRASES, told, strict=True)) == PHRASES


async def test_failures_are_counted_and_listed_by_their_ends(server: DurableServer, open_page: Windows) -> None:
    [failed] = await start_many(server, 1, "importing")
    await begin_earlier(server, failed, 2 * 86_400)
    page = await open_page(server, "/#/runs")
    await view(page, "1 failed, 24 h").click()
    await expect(row(page, failed)).to_contain_text("2 d ago")
    await expect(page.get_by_role("list", name="Filters")).to_contain_text("ended last 24 hours")
    # As it comes, and by a link to a time.
    [another] = await start_many(server, 1, "importing")
    await expect(row(page, another)).to_be_visible()
    await page.goto("/#/runs?ended_after=2026-01-01T00:00:00Z")
    await start(server, "searching")
    await expect(view(page, "1 running")).to_be_visible()
    await expect(row(page, failed)).to_be_visible()
    assert await ids(page) == [another, failed]


async def test_filters_are_in_the_link_and_can_be_taken_away(server: DurableServer, page: Page) -> None:
    [first] = await start_many(server, 1, "greeting", "customer: 1")
    [second] = await start_many(server, 1, "importing", "customer: 1", "nightly")
    [third] = await start_many(server, 1, "greeting", "nightly")
    await expect(row(page, third)).to_be_visible()

    await page.keyboard.press("/")
    await page.keyboard.type("keyerror")
    await expect(row(page, third)).to_have_count(0)
    assert await ids(page) == [second]
    await expect(page).to_have_url(re.compile(r"#/runs\?q=keyerror$"))
    await page.get_by_role("button", name="Remove the filter contains: keyerror").click()
    await expect(row(page, third)).to_be_visible()

    await row(page, third).get_by_role("link", name="nightly").click()
    await expect(row(page, first)).to_have_count(0)
    await page.get_by_role("button", name="Workflow").click()
    await page.get_by_role("checkbox", name="greeting").check()
    await expect(row(page, second)).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Workflow: 1")).to_be_focused()
    assert await ids(page) == [third]
    link = page.url

    await page.get_by_role("link", name="Clear filters").click()
    await expect(row(page, first)).to_be_visible()
    await page.go_back()
    await expect(row(page, first)).to_have_count(0)
    await page.goto("about:blank")
    await page.goto(link)
    await expect(row(page, third)).to_be_visible()
    assert await ids(page) == [third]

    await page.get_by_role("button", name="Tags").click()
    await page.get_by_role("textbox", name="A tag").fill("nobody has it")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()
    await page.get_by_role("link", name="Clear filters").last.click()
    await page.get_by_role("button", name="Order: newest first").click()
    await expect(page.get_by_text("3 runs · oldest first")).to_be_visible()
    assert await ids(page) == [first, second, third]
    await page.get_by_role("button", name="Any time").click()
    await page.get_by_label("Started before").fill("2001-01-01T00:00")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()


@pytest.mark.parametrize("query", ["show=constructor", "show=__proto__", "since=toString"])
async def test_a_link_with_an_unknown_filter_shows_all_runs(
    open_page: Windows, server: DurableServer, query: str
) -> None:
    [handler_id] = await start_many(server, 1, "greeting")
    page = await open_page(server, f"/#/runs?{query}")
    await expect(row(page, handler_id)).to_be_visible()


async def test_links_of_other_views_narrow_the_list(server: DurableServer, page: Page) -> None:
    [failed] = await start_many(server, 1, "importing")
    waiting = await asked(server, "Anyone?")
    links: set[str] = set()
    for place in ("workflows", "workflows/importing", "server", f"runs/{waiting}"):
        await page.goto(f"/#/{place}")
        await expect(page.locator("a[href*='#/runs?']").first).to_be_visible()
        links |= set(await page.locator("a[href*='#/runs?']").evaluate_all("(all) => all.map((one) => one.hash)"))
    known = {"show", "workflow", "tag", "version", "q", "since", "after", "before", "ended_after", "order"}
    assert {name for link in links for name, _ in parse_qsl(link.partition("?")[2])} <= known
    await page.goto("/" + next(link for link in links if "importing" in link and "failed" in link))
    await expect(row(page, failed)).to_be_visible()
    await page.goto("/" + next(link for link in links if "show=suspended" in link))
    await expect(page.get_by_role("heading", name="Nothing is suspended")).to_be_visible()
    await page.goto("/" + next(link for link in links if "show=unfinished" in link and "asking" in link))
    await expect(row(page, waiting)).to_be_visible()
    assert await ids(page) == [waiting]


async def test_the_list_keeps_its_place_while_runs_come(server: DurableServer, page: Page) -> None:
    old = await start_many(server, 60)
    await page.reload()
    await expect(page.get_by_text("50 runs of 60")).to_be_visible()
    await page.get_by_role("button", name="Load more").click()
    await expect(page.get_by_text("60 runs · newest first")).to_be_visible()
    assert await ids(page) == old[::-1]

    # Who has scrolled is told, and nothing moves.
    await row(page, old[3]).scroll_into_view_if_needed()
    top = await page.evaluate("scrollY")
    new = await start_many(server, 3)
    button = page.get_by_role("button", name="3 new runs")
    await expect(button).to_be_in_viewport()
    assert await ids(page) == old[::-1]
    assert await page.evaluate("scrollY") == top

    # The way back from a run leads to where it was.
    await row(page, old[3]).get_by_role("cell").nth(3).click()
    await expect(page).to_have_url(re.compile(f"#/runs/{old[3]}$"))
    await expect(row(page, old[3])).to_have_count(0)
    await page.go_back()
    await expect(row(page, old[3])).to_be_in_viewport()
    await expect(page.get_by_role("link", name=old[3])).to_be_focused()
    await button.click()
    await expect(page.get_by_role("link", name=new[2])).to_be_focused()
    assert await ids(page) == [*new[::-1], *old[::-1]]


async def test_a_list_that_is_left_open_stays_short(server: DurableServer, page: Page) -> None:
    await expect(view(page, "0 all")).to_be_visible()
    started = await asyncio.gather(*[start(server, "greeting") for _ in range(160)])
    await expect(page.get_by_text(re.compile(r"^\d+ runs of 160 · newest first$"))).to_be_visible()
    await page.get_by_role("button", name="Load more").click()
    await expect(page.get_by_text("160 runs · newest first")).to_be_visible()
    shown = await ids(page)
    assert sorted(shown) == sorted(started)
    await page.reload()
    await page.get_by_role("button", name="Load more").click()
    await expect(page.get_by_text("160 runs · newest first")).to_be_visible()
    assert await ids(page) == shown


async def test_the_list_is_used_by_keyboard_alone(server: DurableServer, page: Page) -> None:
    first, second = await start_many(server, 2)
    await expect(row(page, second)).to_be_visible()
    await page.keyboard.press("j")
    await expect(page.get_by_role("link", name=second)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("link", name=first)).to_be_focused()
    await page.keyboard.press("x")
    await expect(page.get_by_role("checkbox", name=f"Select {first}")).to_be_checked()
    await page.keyboard.press("k")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox", name="Search runs")).to_be_focused()
    await page.keyboard.type("jk/x")
    await expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(row(page, second)).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(f"#/runs/{second}$"))


async def test_bulk_actions_tell_first_and_then_act(server: DurableServer, page: Page) -> None:
    failed = await start_many(server, 7, "importing", "nightly")
    waiting = await asked(server, "Go on?", "nightly")
    kept = (await start_many(server, 1))[0]
    await expect(row(page, kept)).to_be_visible()
    dialog = page.get_by_role("dialog")

    server.ledger.open("mended")
    await row(page, waiting).get_by_role("link", name="nightly").click()
    await expect(row(page, kept)).to_have_count(0)
    await choose(page, "Retry")
    await expect(dialog).to_contain_text("7 runs will be retried")
    await expect(dialog.get_by_role("row")).to_have_count(5)
    assert len((await server.api.wants("GET", "/handlers?status=failed"))["handlers"]) == 7
    await dialog.get_by_role("button", name="Retry 7 runs").click()
    await expect(dialog).to_contain_text("7 runs retried.")
    await dialog.get_by_role("button", name="Close").last.click()
    await expect(row(page, failed[0])).to_contain_text("imported 4711")

    # What still runs is purged only where a box says so.
    await choose(page, "Purge")
    await expect(dialog).to_contain_text("7 runs will be purged")
    await expect(dialog).to_contain_text("This cannot be undone")
    await dialog.get_by_role("checkbox", name="also those that still run (1)").check()
    await dialog.get_by_role("button", name="Purge 8 runs").click()
    await expect(dialog).to_contain_text("8 runs purged.")
    await dialog.get_by_role("button", name="Close").last.click()
    await expect(page.get_by_role("heading", name="No run matches these filters")).to_be_visible()
    left = (await server.api.wants("GET", "/handlers"))["handlers"]
    assert [handler["handler_id"] for handler in left] == [kept]


async def choose(page: Page, action: str) -> None:
    """Ask for an action on all of the list."""
    await page.get_by_role("button", name="Bulk actions").click()
    await page.get_by_role("button", name=action).click()


async def test_actions_on_runs_that_wait_spare_the_others(
    server: DurableServer, page: Page, problems: Problems
) -> None:
    problems.allow(r"status of 404 .*/cancel\)")
    waiting = [await asked(server, "Go on?") for _ in range(3)]
    searching = await start(server, "searching")
    await page.goto("/#/runs?show=waiting")
    await expect(row(page, waiting[0])).to_be_visible()
    dialog = page.get_by_role("dialog")

    # Of two that are selected, one is answered before the click.
    await page.get_by_role("checkbox", name=f"Select {waiting[0]}").check()
    await page.get_by_role("checkbox", name=f"Select {waiting[1]}").check()
    await expect(page.get_by_role("group", name="Selected runs")).to_contain_text("2 selected")
    await page.get_by_role("group", name="Selected runs").get_by_role("button", name="Cancel").click()
    await expect(dialog).to_contain_text("2 runs will be cancelled")
    await server.api.send(waiting[0], "Answer", name="Ada")
    await server.api.finished(waiting[0])
    await dialog.get_by_role("button", name="Cancel 2 runs").click()
    await expect(dialog).to_contain_text("1 run cancelled, 1 refused")
    await expect(dialog.get_by_role("link", name=waiting[0])).to_be_visible()
    await dialog.get_by_role("button", name="Close").last.click()

    await choose(page, "Cancel")
    async with page.expect_request(re.compile(r"/bulk/cancel\?.*now=waiting")):
        await dialog.get_by_role("button", name="Cancel 1 run").click()
    await expect(dialog).to_contain_text("1 run cancelled.")
    assert [handler["handler_id"] for handler in await server.api.running()] == [searching]


async def test_the_role_decides_which_actions_are_offered(
    tmp_path: Path, open_page: Windows, problems: Problems
) -> None:
    problems.allow(LOST)
    served = DurableServer(tmp_path, FLOWS)
    served.environment = {"WORKFLOW_SERVER_TOKENS": FULL, "WORKFLOW_SERVER_READ_TOKENS": READ}
    async with served:
        headers = {"Authorization": f"Bearer {FULL}"}
        await served.api.wants("POST", "/workflows/greeting/run-nowait", {}, headers=headers)
        for token, number in ((READ, 0), (FULL, 1)):
            page = await open_page(served, None)
            answer = await page.request.post("/session", data={"token": token})
            assert answer.ok
            await page.goto("/#/runs")
            await expect(page.get_by_role("link", name="greeting")).to_be_visible()
            await expect(page.get_by_role("button", name="Bulk actions")).to_have_count(number)
            await expect(page.get_by_role("checkbox", name="Select all")).to_have_count(number)


async def test_the_list_goes_on_after_a_restart(server: DurableServer, page: Page, problems: Problems) -> None:
    waiting = await asked(server, "Go on?")
    await expect(row(page, waiting)).to_contain_text("waiting")
    async with down(server, problems):
        await expect(page.get_by_text("not connected")).to_be_visible()
        await expect(row(page, waiting)).to_be_visible()
    await server.api.send(waiting, "Answer", name="Ada")
    await expect(row(page, waiting)).to_contain_text("answered by Ada")
    await expect(page.get_by_text("not connected")).to_have_count(0)


async def test_tabs_behind_others_leave_the_connections_to_them(server: DurableServer, page: Page) -> None:
    waiting = [await asked(server, f"Question {number}?") for number in range(4)]
    await page.context.add_init_script(BEHIND)
    tabs = [await page.context.new_page() for _ in waiting]
    for tab, handler_id in zip(tabs, waiting, strict=True):
        await tab.goto(f"/#/runs/{handler_id}")
    # A browser has six connections to a server, and a stream keeps its own.
    assert await page.evaluate("fetch('server').then(({status}) => status)") == 200
    await tabs[0].evaluate("globalThis.isSeen = true; document.dispatchEvent(new Event('visibilitychange'))")
    await server.api.send(waiting[0], "Answer", name="Ada")
    await expect(tabs[0].get_by_role("region", name="Result")).to_contain_text("answered by Ada")


async def test_hostile_texts_are_only_texts(server: DurableServer, page: Page) -> None:
    handler = await asked(server, f"{HOSTILE}\u202e\u2066</script>\n", HOSTILE, times=20_000)
    await expect(row(page, handler)).to_contain_text("<img src=x onerror=alert(1)>")
    await row(page, handler).get_by_role("link", name="img src").click()
    chip = page.get_by_role("button", name="Remove the filter tag: <img")
    await expect(chip).to_be_visible()
    await page.get_by_role("checkbox", name=f"Select {handler}").check()
    await page.get_by_role("group", name="Selected runs").get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("dialog")).to_contain_text("<img src=x")
    assert await page.evaluate("document.images.length") == 0
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_list_is_accessible(server: DurableServer, open_page: Windows, dark: bool) -> None:
    await asked(server, "Publish it?", "team: editorial")
    await start(server, "searching")
    [failed] = await start_many(server, 1, "importing", "nightly")
    page = await open_page(server, "/#/runs", dark=dark, reduced_motion=True)
    await page.get_by_role("checkbox", name=f"Select {failed}").check()
    await page.get_by_role("button", name="Any time").click()
    assert await is_accessible(page)
    await page.keyboard.press("Escape")
    await page.get_by_role("group", name="Selected runs").get_by_role("button", name="Purge").click()
    await expect(page.get_by_role("dialog")).to_contain_text("1 run will be purged")
    assert await is_accessible(page)
    phone = await open_page(server, "/#/runs?tag=nightly", phone=True, dark=dark, reduced_motion=True)
    await expect(row(phone, failed)).to_contain_text("KeyError")
    assert await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await is_accessible(phone)
    await screenshot(phone, f"runs-phone-{'dark' if dark else 'light'}")
    await row(phone, failed).tap()
    await expect(phone).to_have_url(re.compile(f"#/runs/{failed}$"))
