"""The options by which commands say which handlers are meant: the filters of lists."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from workflow_server.cli.times import when
from workflow_server.records import STATUSES

Command = TypeVar("Command", bound=Callable[..., Any])


def filters(command: Command) -> Command:
    """Add the options that say which handlers are meant; the command gets them as a ``query``."""

    @functools.wraps(command)
    def with_query(
        statuses: Sequence[str],
        workflows: Sequence[str],
        tags: Sequence[str],
        versions: Sequence[str],
        text: str | None,
        since: str | None,
        until: str | None,
        **options: Any,
    ) -> Any:
        several = (("status", statuses), ("workflow_name", workflows), ("tag", tags), ("code_version", versions))
        single = (("q", text), ("started_after", since), ("started_before", until))
        query = [(name, value) for name, values in several for value in values]
        query += [(name, value) for name, value in single if value is not None]
        if not all(value for _, value in query):
            raise click.UsageError("A filter is empty: give it a value, or leave it out.")
        return command(query=query, **options)

    added: Callable[..., Any] = with_query
    for option in reversed((
        click.option("--status", "statuses", multiple=True, type=click.Choice(STATUSES), help="Status. Repeatable."),
        click.option("--workflow", "workflows", multiple=True, metavar="NAME", help="Workflow. Repeatable."),
        click.option("--tag", "tags", multiple=True, help="Tag; of several, all of them. Repeatable."),
        click.option(
            "--code-version", "versions", multiple=True, metavar="VERSION", help="Version of the code. Repeatable."
        ),
        click.option("--text", help="Part of an id, a workflow's name, an error or a tag."),
        click.option("--since", metavar="TIME", callback=when, help="Started later than this: 2h, or a time."),
        click.option("--until", metavar="TIME", callback=when, help="Started earlier than this."),
    )):  # fmt: skip
        added = option(added)
    return cast(Command, added)
