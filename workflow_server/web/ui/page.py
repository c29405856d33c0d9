"""The documents of the web UI. They hold no script and no style of their own: their policy allows files only."""

from __future__ import annotations

from html import escape

from workflow_server.web.ui.assets import Assets

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""Headers of every document."""

_STYLES = ("css/tokens.css", "css/base.css")
CLASSIC = ("vendor/preact.js", "vendor/preact-hooks.js", "vendor/htm.js")
"""The view library: preact, its hooks, and htm."""


def document(assets: Assets, script: str, content: str) -> str:
    """Return an HTML document with this content, which loads a script and all styles. Its links are relative, so that
    it works in a mounted application."""
    root = f"static/{assets.version}/"
    others = sorted(path for path in assets.by_path if path.startswith("css/") and path not in _STYLES)
    styles = "\n".join(f'<link rel="stylesheet" href="{root}{path}">' for path in (*_STYLES, *others))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>workflow_server</title>
<link rel="icon" href="{root}icon.svg" type="image/svg+xml">
{styles}
{_classic(script, root)}{_preloads(assets, script, root)}<script type="module" src="{root}{escape(script)}"></script>
</head>
<body>
{content}
</body>
</html>
"""


def _classic(script: str, root: str) -> str:
    """Return the scripts that set names for all modules: they run before these, in their order."""
    return "" if script != "main.js" else "".join(f'<script defer src="{root}{path}"></script>\n' for path in CLASSIC)


def _preloads(assets: Assets, script: str, root: str) -> str:
    """Return links to the modules that the script imports: found one import after the other, they would come later."""
    modules = sorted(assets.imported_by(script))
    return "".join(f'<link rel="modulepreload" href="{root}{path}">\n' for path in modules)


def start_page(assets: Assets) -> str:
    """Return the page."""
    return document(
        assets,
        "main.js",
        """<div id="app"></div>
<noscript>
<p class="notice">This page needs JavaScript. The API is described at <a href="openapi.json">/openapi.json</a>.</p>
</noscript>""",
    )
