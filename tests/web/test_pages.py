"""The start page needs nobody else, runs nothing, and shows names as text."""

from __future__ import annotations

import base64
import hashlib
import re

from tests.web.conftest import Serve, Served
from workflow_server.web.ui.page import render

TOKEN = "a-token-that-may-do-all"


async def test_the_page_lists_the_workflows_and_every_link_on_it_works(served: Served) -> None:
    async with served.client.get("/") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        page = await response.text()
    links = re.findall(r'href="([^"]+)"', page)
    assert {"openapi.json", "workflows", "handlers", "health", "workflows/echo/schema"} <= set(links)
    for link in links:
        assert (await served.get(f"/{link}"))[0] == 200


async def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing(served: Served) -> None:
    async with served.client.get("/") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script" not in page
    assert "://" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in policy


def test_names_are_shown_as_text() -> None:
    page = render(["<script>alert(1)</script>", 'a"b', "c/d?e"])
    assert "<script" not in page
    assert 'a"b' not in page
    assert 'href="workflows/c%2Fd%3Fe/schema"' in page


async def test_a_browser_without_a_session_gets_a_form_for_it(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,))
    asked = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with served.client.get("/", headers=asked) as response:
        page = await response.text()
        assert (response.status, response.content_type) == (401, "text/html")
        policy = response.headers["Content-Security-Policy"]
    # The one script that runs is the one that the policy names.
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "echo" not in page
    async with served.client.post("/session", json={"token": TOKEN}) as response:
        headers = {**asked, "Cookie": response.headers["Set-Cookie"].partition(";")[0]}
    served.client.cookie_jar.clear()
    async with served.client.get("/", headers=headers) as response:
        assert (response.status, "echo" in await response.text()) == (200, True)
    # The cookie does not count for a link on another page, and the form leads on.
    async with served.client.get("/", headers={**headers, "Sec-Fetch-Site": "same-site"}) as response:
        assert (response.status, response.content_type) == (401, "text/html")
    async with served.client.get("/", headers={**headers, "Origin": "https://evil.example.org"}) as response:
        assert response.status == 403
    for path, accept in (("/", "*/*"), ("/", "application/json"), ("/workflows", "text/html")):
        async with served.client.get(path, headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (401, "application/json")
