"""The page and its files come from this server alone, run nothing from elsewhere, and are cached by their version."""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
import re
from importlib.resources import files

import pytest

from tests.web.conftest import Serve, Served
from workflow_server.web.ui.assets import Assets
from workflow_server.web.ui.page import CLASSIC

TOKEN = "a-token-that-may-do-all"
STATIC = files("workflow_server.web.ui") / "static"
MOST_BYTES = 350_000
_MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|dangerouslySet"
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


async def test_every_file_that_the_page_names_is_served_and_kept(served: Served) -> None:
    async with served.client.get("/") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        assert response.headers["Cache-Control"] == "no-store"
        page = await response.text()
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    named = [link for link in links if link.startswith("static/")]
    assert any(link.endswith("/main.js") for link in named)
    for link in named:
        async with served.client.get(f"/{link}") as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]


async def test_the_page_may_load_nothing_from_elsewhere(served: Served) -> None:
    async with served.client.get("/") as response:
        page = await response.text()
        assert response.headers["Content-Security-Policy"] == POLICY
    assert "://" not in page
    assert not re.search(r"<script[^>]*>[^<]", page)
    assert not re.search(r"<style|style=|\son\w+=", page)


async def test_a_file_comes_compressed_and_only_once(served: Served) -> None:
    version = Assets().version
    path = f"/static/{version}/main.js"
    async with served.client.get(path, headers={"Accept-Encoding": "identity"}) as response:
        plain = await response.read()
        etag = response.headers["ETag"]
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    async with served.client.get(path, headers={"Accept-Encoding": "gzip"}, auto_decompress=False) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await response.read()) == plain
    for refused in ("gzip;q=0", "gzip; q=0.0, br", "br"):
        async with served.client.get(path, headers={"Accept-Encoding": refused}, auto_decompress=False) as response:
            assert "Content-Encoding" not in response.headers
    async with served.client.get(path, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    assert plain == (STATIC / "main.js").read_bytes()


async def test_a_page_from_before_an_upgrade_gets_the_file_of_today(served: Served) -> None:
    async with served.client.get("/static/0123456789abcdef/vendor/dagre.js") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path", ["nothing.js", "../page.py", "%2e%2e/page.py", "vendor/vendor.json", "vendor", "/etc/passwd"]
)
async def test_other_files_are_not_served(served: Served, path: str) -> None:
    status, body = await served.get(f"/static/{Assets().version}/{path}")
    assert (status, list(body)) == (404, ["detail"])


async def test_a_browser_without_a_session_gets_a_form_for_it(serve: Serve) -> None:
    served = await serve(tokens=(TOKEN,))
    asked = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with served.client.get("/", headers=asked) as response:
        page = await response.text()
        assert (response.status, response.content_type) == (401, "text/html")
        assert response.headers["Content-Security-Policy"] == POLICY
    [script] = re.findall(r'<script type="module" src="([^"]+)"></script>', page)
    async with served.client.get(f"/{script}") as response:
        assert response.status == 200
    assert 'id="app"' not in page
    async with served.client.post("/session", json={"token": TOKEN}) as response:
        headers = {**asked, "Cookie": response.headers["Set-Cookie"].partition(";")[0]}
    served.client.cookie_jar.clear()
    async with served.client.get("/", headers=headers) as response:
        assert (response.status, 'id="app"' in await response.text()) == (200, True)
    # The cookie does not count for a link on another page, and the form leads on.
    async with served.client.get("/", headers={**headers, "Sec-Fetch-Site": "same-site"}) as response:
        assert (response.status, response.content_type) == (401, "text/html")
    async with served.client.get("/", headers={**headers, "Origin": "https://evil.example.org"}) as response:
        assert response.status == 403
    for path, accept in (("/", "*/*"), ("/", "application/json"), ("/workflows", "text/html")):
        async with served.client.get(path, headers={"Accept": accept}) as response:
            assert (response.status, response.content_type) == (401, "application/json")


def test_vendored_files_are_those_that_were_published() -> None:
    vendor = STATIC / "vendor"
    listed = json.loads((vendor / "vendor.json").read_text())["files"]
    for entry in listed:
        assert hashlib.sha256((vendor / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
        assert entry["package_integrity"].startswith("sha512-")
        assert entry["license_files"]
        for license_file in entry["license_files"]:
            assert len((vendor / license_file).read_text()) > 500
    accounted = {entry["file"] for entry in listed} | {name for entry in listed for name in entry["license_files"]}
    assert {path.name for path in vendor.iterdir()} == accounted | {"vendor.json"}


VIEWS = {
    "views/runs.js": (),
    "views/run.js": ("vendor/dagre.js",),
    "views/start.js": (),
    "views/workflows.js": ("vendor/dagre.js", "vendor/uplot.js", "vendor/uplot.css"),
    "views/server.js": (),
}
"""The module of each view, and what it loads besides what is imported."""


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_loads_much(view: str) -> None:
    assets = Assets()
    loaded = {"main.js", view, *VIEWS[view], *CLASSIC} | assets.imported_by("main.js") | assets.imported_by(view)
    loaded |= {path for path in assets.by_path if path.startswith("css/")}
    assert sum(len(assets.by_path[path].body) for path in loaded) <= MOST_BYTES


def test_all_modules_are_loaded_by_some_view() -> None:
    assets = Assets()
    found = {"main.js", "login.js", "charts.js"}
    for path, asset in assets.by_path.items():
        if path.endswith(".js") and not path.startswith("vendor/"):
            folder = posixpath.dirname(path)
            later = re.findall(r'import\("(\.[^"]+)"\)', asset.body.decode())
            found |= assets.imported_by(path) | {posixpath.normpath(posixpath.join(folder, name)) for name in later}
    assert {path for path in assets.by_path if path.endswith(".js")} == found | {"vendor/uplot.js", *CLASSIC}


def test_no_module_writes_markup_or_runs_text() -> None:
    for path, asset in Assets().by_path.items():
        if not path.startswith("vendor/"):
            assert re.search(_MARKUP, asset.body.decode()) is None, path
