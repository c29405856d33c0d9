"""Candidates for the arguments that a shell completes: files, and names that a server has at that moment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

import click
from click.shell_completion import CompletionItem

from workflow_server.cli.remote import DEFAULT_URL, Remote
from workflow_server.printable import printable

WAIT = 1.0
"""Seconds that a server gets to answer: somebody has pressed a key."""
HANDLERS = "50"
"""The newest handlers of those that match."""
_NAME = re.compile(r"[A-Za-z0-9._~][A-Za-z0-9._~-]{0,127}")
"""The names and ids that servers give. A shell takes whatever else somebody's server sends as it comes: a semicolon
into the command line, an escape to the terminal; and a dash at the beginning makes an option."""


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell complete the name of a file: a TARGET is one more often than a module."""
    return [CompletionItem(incomplete, type="file")]


def workflows(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the workflows of the server whose names begin so."""

    async def ask(remote: Remote) -> list[CompletionItem]:
        return [CompletionItem(name) for name in (await remote.get("workflows"))["workflows"]]

    return _of_server(context, ask, incomplete)


def handlers(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the newest handlers of the server whose ids begin so."""

    async def ask(remote: Remote) -> list[CompletionItem]:
        matching = [("q", incomplete)] if incomplete else []
        page = await remote.get("handlers", query=[("limit", HANDLERS), ("order", "desc"), *matching])
        return [
            CompletionItem(
                handler["handler_id"], help=printable(f"{handler['workflow_name']}, {handler['status']}", 200)
            )
            for handler in page["handlers"]
        ]

    return _of_server(context, ask, incomplete)


def _of_server(
    context: click.Context, ask: Callable[[Remote], Coroutine[Any, Any, list[CompletionItem]]], incomplete: str
) -> list[CompletionItem]:
    """Return what the server of this command line knows; nothing where it does not answer in time."""

    async def asked() -> list[CompletionItem]:
        url, token = context.params.get("url") or DEFAULT_URL, context.params.get("token")
        async with asyncio.timeout(WAIT), Remote.opened(url, token, patience=0.0) as remote:
            return await ask(remote)

    try:
        return [
            item for item in asyncio.run(asked()) if item.value.startswith(incomplete) and _NAME.fullmatch(item.value)
        ]
    except Exception:
        # Whatever answers there, a traceback in the command line that is being typed helps nobody.
        return []
