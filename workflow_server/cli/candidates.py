"""Candidates for the arguments that a shell completes: files, and names that a server has at that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import click
from click.shell_completion import CompletionItem

from workflow_server.cli.remote import DEFAULT_URL, Remote
from workflow_server.errors import WorkflowServerError

WAIT = 1.0
"""Seconds that a server gets to answer: somebody has pressed a key."""
HANDLERS = "50"
"""The newest handlers of those that match."""


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
            CompletionItem(handler["handler_id"], help=f"{handler['workflow_name']}, {handler['status']}")
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
        return [item for item in asyncio.run(asked()) if item.value.startswith(incomplete)]
    except (WorkflowServerError, TimeoutError):
        return []
