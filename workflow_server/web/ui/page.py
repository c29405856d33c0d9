"""The start page. It loads nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5b6475; --line: #d9dee8; --paper: #fbfcfe; --link: #2456c7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaf1; --soft: #98a2b5; --line: #2c3443; --paper: #12161e; --link: #8ab0ff; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; padding: 4rem 1.5rem; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; letter-spacing: -.01em; }
h2 { font-size: .8rem; margin: 2.5rem 0 .5rem; color: var(--soft); text-transform: uppercase; letter-spacing: .08em; }
p { margin: 0; color: var(--soft); }
ul { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
li { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: .6rem 0; border-bottom: 1px solid var(--line); }
li strong { flex: 1 1 12rem; font-weight: 600; overflow-wrap: anywhere; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
code { font: .9em ui-monospace, monospace; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def policy(scripts: str = "'none'") -> str:
    """Return the policy of a page with these scripts: what it may load and run."""
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'sha256-{_STYLE_HASH}'; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


CONTENT_SECURITY_POLICY = policy()
HEADERS = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
"""Headers of every page, beside its policy."""

_API = (
    ("openapi.json", "the API, as OpenAPI 3.1"),
    ("workflows", "the names of the workflows"),
    ("handlers", "all runs, with their results"),
    ("health", "whether the store can commit"),
)


def document(main: str) -> str:
    """Return an HTML page with this content of its own."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>workflow_server</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>workflow_server</h1>
{main}
</body>
</html>
"""


def render(workflow_names: list[str]) -> str:
    """Return the page for these workflows. Its links are relative, so that it works in a mounted application."""
    workflows = "\n".join(_workflow(name) for name in workflow_names) or "<li>None yet.</li>"
    api = "\n".join(f'<li><strong><a href="{path}">/{path}</a></strong> {text}</li>' for path, text in _API)
    return document(f"""<p>Runs go on where they were, whatever happens to the process.</p>
<h2>Workflows</h2>
<ul>
{workflows}
</ul>
<h2>API</h2>
<ul>
{api}
</ul>
</main>""")


def _workflow(name: str) -> str:
    path = escape(f"workflows/{quote(name, safe='')}")
    links = " ".join(f'<a href="{path}/{part}">{part}</a>' for part in ("schema", "events", "representation"))
    return f"<li><strong><code>{escape(name)}</code></strong> {links}</li>"
