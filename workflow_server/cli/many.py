"""Commands that act on many handlers of a server: on given ones, or on all that match filters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import click

from workflow_server.cli import candidates
from workflow_server.cli.exit_codes import FAILURE
from workflow_server.cli.filters import filters
from workflow_server.cli.output import json_lines, print_json_line
from workflow_server.cli.remote import Connection, Query, Refused, Remote, connected
from workflow_server.printable import printable

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Action:
    """Something that is done to handlers."""

    done: Literal["cancelled", "deleted", "retried"]
    running: bool = False
    """Running runs may be cancelled."""
    refused: int = 0
    """The handlers to which it could not be done so far."""

    @property
    def query(self) -> Query:
        """Return the parameters of a request for it."""
        return [("purge", _flag(self.done == "deleted")), ("running", _flag(self.running))]

    async def to_given(self, remote: Remote, handler_ids: Sequence[str]) -> AsyncIterator[str]:
        """Do it to these handlers, one after the other; yield those to which it is done."""
        for handler_id in handler_ids:
            try:
                yield await self._to_one(remote, handler_id)
            except Refused as error:
                # The others are to be done all the same.
                self._refuse(str(error))

    async def _to_one(self, remote: Remote, handler_id: str) -> str:
        await remote.post("handlers", handler_id, "cancel", query=self.query[:1])
        return handler_id

    def _refuse(self, reason: str) -> None:
        click.echo(f"workflow-server: {reason}", err=True)
        self.refused += 1

    async def to_matching(self, remote: Remote, query: Query, *, dry_run: bool) -> AsyncIterator[str]:
        """Do it to all handlers that match, page by page, or only find them; yield each."""
        cursor: str | None = ""
        while cursor is not None:
            more = [*query, *self.query, ("dry_run", _flag(dry_run)), ("cursor", cursor)]
            answer = await remote.post("bulk", "retry" if self.done == "retried" else "cancel", query=more)
            for one in answer.get("refused", ()):
                self._refuse(f"{printable(one['handler_id'])}: {printable(one['detail'])}")
            for handler_id in answer["handler_ids"]:
                yield handler_id
            cursor = answer["next_cursor"]


@dataclass
class Retry(Action):
    """Their runs are retried."""

    from_step: str | None = None
    fork: bool = False

    @property
    def query(self) -> Query:
        """Return the parameters of a request for it."""
        step = [] if self.from_step is None else [("from_step", self.from_step)]
        return [*step, ("fork", _flag(self.fork))]

    async def _to_one(self, remote: Remote, handler_id: str) -> str:
        body = {"from_step": self.from_step, "fork": self.fork}
        return str((await remote.post_once("handlers", handler_id, "retry", body=body))["handler_id"])


def _flag(value: bool) -> str:
    return "true" if value else "false"


def acting(command: Command) -> Command:
    """Add the arguments and options of a command that acts on many handlers."""
    added: Callable[..., Any] = connected(command)
    for option in reversed((
        click.argument(
            "handler_ids", metavar="[HANDLER_ID]...", nargs=-1, shell_complete=candidates.handlers
        ),
        filters,
        click.option("--dry-run", is_flag=True, help="Only print what would be done."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        json_lines,
    )):  # fmt: skip
        added = option(added)
    return cast(Command, added)


@click.command(help="Cancel runs: those of the given handlers, or all running ones that match the filters.")
@acting
def cancel(**options: Any) -> None:
    """Run ``workflow-server runs cancel``."""
    _act(Action("cancelled", running=True), **options)


PURGE = """Delete handlers with all that belongs to them: the given ones, or all that match the filters.

Of those that match, running ones are deleted only with --running; given ones are cancelled first.
"""


@click.command(help=PURGE)
@acting
@click.option("--running", is_flag=True, help="Delete running ones, too.")
def purge(running: bool, **options: Any) -> None:
    """Run ``workflow-server runs purge``."""
    _act(Action("deleted", running), **options)


RETRY = """Retry runs that failed, were cancelled or timed out: the given ones, or all that match the filters.

The failed step begins again with fresh attempts, or an earlier one that is named. Of those that match, cancelled ones
are retried only with --status cancelled. Follow a retry with "runs watch".
"""


@click.command(help=RETRY)
@acting
@click.option("--from-step", metavar="STEP", help="Go back to the last beginning of this step.")
@click.option("--fork", is_flag=True, help="Go on in new handlers, whose ids are printed, and leave these as they are.")
def retry(from_step: str | None, fork: bool, **options: Any) -> None:
    """Run ``workflow-server runs retry``."""
    _act(Retry("retried", from_step=from_step, fork=fork), **options)


def _act(
    action: Action,
    *,
    connection: Connection,
    handler_ids: Sequence[str],
    query: Query,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    if bool(handler_ids) == bool(query):
        raise click.UsageError("Give the ids of handlers, or at least one filter such as --workflow.")
    if handler_ids and dry_run:
        raise click.UsageError("--dry-run is for filters: it shows which handlers match.")
    done: str = action.done
    if handler_ids:
        connection.run(lambda remote: _print_all(action.to_given(remote, handler_ids), done, as_json=as_json))
        _exit_as(action)
        return
    if dry_run:
        done = f"would be {done}"
    elif not yes:
        count = connection.run(lambda remote: _count(action.to_matching(remote, query, dry_run=True)))
        click.confirm(f"{count:,} handlers match. Shall they be {done}?", abort=True, err=True)
    found = connection.run(
        lambda remote: _print_all(action.to_matching(remote, query, dry_run=dry_run), done, as_json=as_json)
    )
    click.echo(f"{found:,} {done}", err=True)
    _exit_as(action)


def _exit_as(action: Action) -> None:
    if action.refused:
        raise SystemExit(FAILURE)


async def _print_all(handler_ids: AsyncIterator[str], done: str, *, as_json: bool) -> int:
    count = 0
    async for handler_id in handler_ids:
        if as_json:
            print_json_line({"handler_id": handler_id, "status": done})
        else:
            click.echo(f"{printable(handler_id)} {done}")
        count += 1
    return count


async def _count(handler_ids: AsyncIterator[str]) -> int:
    return len([handler_id async for handler_id in handler_ids])
