"""The form at which a browser gets its session."""

from __future__ import annotations

from workflow_server.web.ui.assets import Assets
from workflow_server.web.ui.page import document


def login_page(assets: Assets) -> str:
    """Return the form."""
    return document(
        assets,
        "login.js",
        """<main class="login">
<h1>workflow_server</h1>
<p class="soft">This server needs a token. If this browser has a session already, <a href="">open the page</a>.</p>
<form>
<label>Token <input name="token" type="password" required autofocus autocomplete="current-password"></label>
<button class="btn primary">Log in</button>
<output role="alert"></output>
</form>
</main>""",
    )
