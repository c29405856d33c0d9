"""``workflow-server runs``: the runs of a server, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from workflow_server.cli import candidates
from workflow_server.cli.exit_codes import FAILURE
from workflow_server.cli.filters import filters
from workflow_server.cli.history import export, history
from workflow_server.cli.many import cancel, purge, retry
from workflow_server.cli.output import json_lines, print_json, print_json_line, print_table
from workflow_server.cli.remote import Connection, Query, Refused, Remote, connected
from workflow_server.cli.watching import events, told
from workflow_server.printable import printable, printable_json

Json = dict[str, Any]
PAGE = 200
"""Handlers that are read at once."""


@click.group(help="List, start, watch, answer, cancel, retry and delete the runs of a server.")
def runs() -> None:
    """Run ``workflow-server runs``."""


runs.add_command(cancel)
runs.add_command(purge)
runs.add_command(retry)
runs.add_command(history)
runs.add_command(export)


# -- Looking ---------------------------------------------------------------------------------------


@runs.command("list", help="List runs, the newest first.")
@filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Maximum number of runs.")
@click.option("--all", "limit", flag_value=2**31, type=int, help="List all of them.")
@click.option("--now", "with_now", is_flag=True, help="With --json, add what each run does at present.")
@json_lines
@connected
def list_runs(connection: Connection, query: Query, limit: int, with_now: bool, as_json: bool) -> None:
    """Run ``workflow-server runs list``."""

    async def work(remote: Remote) -> list[Json]:
        found: list[Json] = []
        present = [("include", "now")] if with_now or not as_json else []
        async for handler in _handlers(remote, [*query, *present, ("order", "desc")]):
            if as_json:
                print_json_line(handler)
            found.append({} if as_json else handler)
            if len(found) == limit:
                break
        return found

    found = connection.run(work)
    if not as_json:
        print_table(("handler", "workflow", "status", "now", "started", "tags"), [_row(handler) for handler in found])


async def _handlers(remote: Remote, query: Query) -> AsyncIterator[Json]:
    """Yield the handlers of a list, page by page."""
    cursor: str | None = ""
    while cursor is not None:
        page = await remote.get("handlers", query=[*query, ("limit", str(PAGE)), ("cursor", cursor)])
        for handler in page["handlers"]:
            yield handler
        cursor = page["next_cursor"]


def _row(handler: Json) -> tuple[str, ...]:
    at = handler["started_at"]
    started = datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""
    tags = ", ".join(handler["tags"])
    return handler["handler_id"], handler["workflow_name"], handler["status"], _present(handler), started, tags


def _present(handler: Json) -> str:
    """Return what a run does at present, with its first step or wait; nothing of a run that has ended."""
    now = handler["now"]
    state: str = now["state"] or ""
    if state == "waiting" and now["waiting_for"]:
        return f"waiting for {now['waiting_for'][0]['event']}{_more(now['waiting_count'])}"
    if state == "running" and now["running_steps"]:
        return f"in {now['running_steps'][0]['step']}{_more(now['running_count'])}"
    return state


def _more(number: int) -> str:
    return f" and {number - 1} more" if number > 1 else ""


@runs.command(help="Show a run: its status, its result, where it stands.")
@click.argument("handler_id", shell_complete=candidates.handlers)
@json_lines
@connected
def show(connection: Connection, handler_id: str, as_json: bool) -> None:
    """Run ``workflow-server runs show``."""
    handler = connection.run(lambda remote: _handler(remote, handler_id))
    if as_json:
        print_json_line(handler)
        return
    for name, value in handler.items():
        if value not in (None, [], False, 0):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            click.echo(f"{name.replace('_', ' ') + ':':<15} {printable(text)}")


WATCH = """Follow a run: its steps, its events and their times, until it ends.

It goes on by itself when the server is restarted. The exit code is 1 if the run failed or was cancelled.
"""


@runs.command(help=WATCH)
@click.argument("handler_id", shell_complete=candidates.handlers)
@json_lines
@connected
def watch(connection: Connection, handler_id: str, as_json: bool) -> None:
    """Run ``workflow-server runs watch``."""
    _exit_as(connection.run(lambda remote: _watch(remote, handler_id, as_json=as_json, to_stderr=False)))


async def _watch(remote: Remote, handler_id: str, *, as_json: bool, to_stderr: bool) -> Json:
    """Print the events of a run as they come; return its handler when it has ended."""

    def lost(reason: str) -> None:
        click.echo(f"The connection is gone ({reason}): trying again until the server answers.", err=True)

    async for line in events(remote, handler_id, lost):
        click.echo(printable_json(line) if as_json else told(line), err=to_stderr)
    return await _handler(remote, handler_id)


async def _handler(remote: Remote, handler_id: str) -> Json:
    handler = await remote.get("handlers", handler_id)
    if not isinstance(handler, dict) or "handler_id" not in handler:
        # An id such as "stats" is the name of something else there.
        raise Refused(404, f"Handler '{printable(handler_id, 200)}' not found.")
    return handler


def _exit_as(handler: Json) -> None:
    """Say how the run ended, and exit with the code for that."""
    reason = f": {printable(handler['error'])}" if handler["error"] else ""
    click.echo(f"{handler['handler_id']} {handler['status']}{reason}", err=True)
    if handler["status"] != "completed":
        raise SystemExit(FAILURE)


# -- Doing -----------------------------------------------------------------------------------------


def _fields(_: click.Context, __: click.Parameter, values: Sequence[str]) -> Json:
    """Parse ``NAME=VALUE``: the value is JSON, or else a text."""
    fields: Json = {}
    for given in values:
        name, separator, value = given.partition("=")
        if not separator or not name:
            raise click.BadParameter("expected NAME=VALUE.")
        try:
            fields[name] = json.loads(value)
        except (ValueError, RecursionError):
            fields[name] = value
    return fields


field = click.option(
    "--field", "-f", "fields", multiple=True, metavar="NAME=VALUE", callback=_fields,
    help="Field of the event; VALUE is JSON, or else a text. Repeatable.",
)  # fmt: skip

START = """Start a run of WORKFLOW, and print the id of its handler.

With --wait, its events are shown on stderr until it ends, and its result is printed. The exit code is then 1 if it
failed or was cancelled.
"""


@runs.command(help=START)
@click.argument("workflow", shell_complete=candidates.workflows)
@field
@click.option("--tag", "tags", multiple=True, help="Tag to find the run by. Repeatable.")
@click.option("--wait", is_flag=True, help="Wait until the run ends.")
@json_lines
@connected
def start(
    connection: Connection, workflow: str, fields: Mapping[str, Any], tags: Sequence[str], wait: bool, as_json: bool
) -> None:
    """Run ``workflow-server runs start``."""
    body = {"start_event": dict(fields), **({"tags": list(tags)} if tags else {})}

    async def work(remote: Remote) -> Json:
        handler: Json = await remote.post_once("workflows", workflow, "run-nowait", body=body)
        if not wait:
            return handler
        click.echo(f"{handler['handler_id']} started", err=True)
        return await _watch(remote, handler["handler_id"], as_json=False, to_stderr=True)

    handler = connection.run(work)
    if as_json:
        print_json_line(handler)
    elif not wait:
        click.echo(handler["handler_id"])
    elif handler["result"] is not None:
        print_json(handler["result"]["value"])
    if wait:
        _exit_as(handler)


@runs.command(help="Send an event of the class TYPE to a run: an answer, say.")
@click.argument("handler_id", shell_complete=candidates.handlers)
@click.argument("kind", metavar="TYPE")
@field
@click.option("--step", help="Only this step gets it.")
@click.option("--hold", is_flag=True, help="If no step takes it now, hold it until the next wait for its type begins.")
@connected
def send(
    connection: Connection, handler_id: str, kind: str, fields: Mapping[str, Any], step: str | None, hold: bool
) -> None:
    """Run ``workflow-server runs send``."""
    body: Json = {"event": {"type": kind, "value": dict(fields)}, "hold": hold}
    if step is not None:
        body["step"] = step
    connection.run(lambda remote: remote.post_once("events", handler_id, body=body))
    click.echo("sent")
