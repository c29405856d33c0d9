"""The form at which a browser gets its session: it runs the one script that its policy names, and loads nothing."""

from __future__ import annotations

import base64
import hashlib

from aiohttp import hdrs, web

from workflow_server.web.ui.page import HEADERS, document, policy

_SCRIPT = """
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = new FormData(event.target).get("token").trim();
  const headers = {"Content-Type": "application/json"};
  const answer = await fetch("session", {method: "POST", headers, body: JSON.stringify({token})});
  if (answer.ok) location.replace(location.href);
  else document.querySelector("output").textContent = (await answer.json()).detail;
});
"""
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()

_PAGE = document(f"""<p>This server needs a token.
If this browser has a session already, <a href="">open the page</a>.</p>
<h2>Token</h2>
<form>
<input name="token" type="password" required autofocus autocomplete="current-password" aria-label="Token">
<button>Log in</button>
<output></output>
</form>
</main>
<script>{_SCRIPT}</script>""")


def login_page() -> web.Response:
    """Return the form, with the status that says that a token is missing."""
    headers = {**HEADERS, "Content-Security-Policy": policy(f"'sha256-{_SCRIPT_HASH}'")}
    headers[str(hdrs.WWW_AUTHENTICATE)] = 'Bearer realm="workflow_server"'
    return web.Response(status=401, text=_PAGE, content_type="text/html", charset="utf-8", headers=headers)
