"""``workflow-server runs history`` and ``runs export``: what happened to handlers, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from workflow_server.cli.filters import filters
from workflow_server.cli.new_file import new_file
from workflow_server.cli.output import json_lines, print_json_line
from workflow_server.cli.remote import Connection, Query, Refused, Remote, connected
from workflow_server.printable import printable, printable_json

Json = dict[str, Any]
Write = Callable[[str], None]

PAGE = "200"
"""Entries, or handlers, that are read at once."""
WIDTHS = (23, 16, 16, 9)
"""Characters of the columns of a history before the last: time, what, step, duration."""
HEAD = ("TIME", "WHAT", "STEP", "SECONDS", "DETAIL")
NOT_FOUND = 404


async def entries(remote: Remote, handler_id: str, query: Query = ()) -> AsyncIterator[Json]:
    """Yield the entries of a handler's history, in order, page by page.

    Raises:
        Refused, Unreachable: they cannot be had.
    """
    cursor: str | None = ""
    while cursor is not None:
        asked = [*query, ("limit", PAGE), ("cursor", cursor)]
        page = await remote.get("handlers", handler_id, "history", query=asked)
        for entry in page["history"]:
            yield entry
        cursor = page["next_cursor"]


# -- For people ------------------------------------------------------------------------------------

HISTORY = """Show what happened to a handler: its steps, attempts that failed, waits, events, restarts of the server.

The oldest comes first, over all runs of the handler.
"""


@click.command(help=HISTORY)
@click.argument("handler_id")
@json_lines
@connected
def history(connection: Connection, handler_id: str, as_json: bool) -> None:
    """Run ``workflow-server runs history``."""

    async def work(remote: Remote) -> None:
        is_first = True
        async for entry in entries(remote, handler_id):
            if as_json:
                print_json_line(entry)
                continue
            if is_first:
                click.echo(_row(*HEAD))
            is_first = False
            _print(entry)

    connection.run(work)


def _print(entry: Json) -> None:
    duration = "" if entry["duration"] is None else f"{entry['duration']:.3f}"
    what = entry["kind"].replace("_", " ")
    click.echo(_row(_local(entry["time"]), what, entry["step"] or "", duration, _detail(entry)))
    for line in (entry["traceback"] or "").splitlines():
        click.echo(f"    {printable(line)}")


def _row(time: str, what: str, step: str, duration: str, detail: str) -> str:
    first, second, third, fourth = WIDTHS
    cells = (time.ljust(first), printable(what).ljust(second), printable(step).ljust(third), duration.rjust(fourth))
    return "  ".join((*cells, printable(detail))).rstrip()


def _local(time: str | None) -> str:
    """Return a time on this machine's clock; nothing where it is not known."""
    return "" if time is None else datetime.fromisoformat(time).astimezone().isoformat(" ", "milliseconds")[:23]


def _detail(entry: Json) -> str:
    """Return what else there is to say of an entry, in one line."""
    kind = entry["kind"]
    wanted = ", ".join(f"{name}={json.dumps(value)}" for name, value in (entry["requirements"] or {}).items())
    parts = (
        ("attempt {}", entry["attempt"]),
        ("{}", None if kind == "step_ended" else entry["event"]),
        ("with {}", wanted),
        ("question {}", entry["question"]),
        ("returned {}", entry["returned"]),
        ("{}", entry["error"]),
        ("after a {}" if kind == "resumed" else "{}", entry["reason"]),
        ("again at {}" if kind == "attempt_failed" else "until {}", _local(entry["until"])),
        ("by {}", entry["by"]),
    )
    return ", ".join(form.format(value) for form, value in parts if value not in (None, ""))


# -- For programs ----------------------------------------------------------------------------------

EXPORT = """Write all of the given handlers, or of all that match the filters, as JSON Lines.

The first line of a handler has the kind "handler" and the handler as its value; the others are its history, with the
values of its events. Every line has the same keys, whose values have the same types or are null; with --values-as-text
that is so of "value", too, which columnar readers need. Without filters, --all is needed to export every handler.
"""


@click.command(help=EXPORT)
@click.argument("handler_ids", metavar="[HANDLER_ID]...", nargs=-1)
@filters
@click.option("--all", "all_of_them", is_flag=True, help="Export every handler.")
@click.option("--values-as-text", is_flag=True, help="Write values as texts that hold JSON.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="FILE",
    help="New file, which is written whole or not at all. Default: stdout.",
)  # fmt: skip
@connected
def export(
    connection: Connection,
    handler_ids: Sequence[str],
    query: Query,
    all_of_them: bool,
    values_as_text: bool,
    output: Path | None,
) -> None:
    """Run ``workflow-server runs export``."""
    if bool(handler_ids) + bool(query) + all_of_them != 1:
        raise click.UsageError("Give the ids of handlers, or at least one filter such as --workflow, or --all.")

    async def work(remote: Remote) -> None:
        # As bytes: what the terminal's encoding lacks is written all the same.
        stdout = nullcontext(sys.stdout.buffer)
        target: AbstractContextManager[BinaryIO] = stdout if output is None else new_file(output)
        with target as file:

            def write(line: str) -> None:
                file.write(f"{line}\n".encode())

            for handler_id in handler_ids:
                await _export(remote, handler_id, write, values_as_text=values_as_text)
            if not handler_ids:
                await _export_matching(remote, query, write, values_as_text=values_as_text)

    connection.run(work)


async def _export_matching(remote: Remote, query: Query, write: Write, *, values_as_text: bool) -> None:
    cursor: str | None = ""
    while cursor is not None:
        page = await remote.get("handlers", query=[*query, ("limit", PAGE), ("cursor", cursor)])
        for handler in page["handlers"]:
            try:
                await _export(remote, handler["handler_id"], write, values_as_text=values_as_text)
            except Refused as error:
                if error.status != NOT_FOUND:
                    raise
                # It was deleted since the list was read.
                click.echo(f"workflow-server: {error}", err=True)
        cursor = page["next_cursor"]


async def _export(remote: Remote, handler_id: str, write: Write, *, values_as_text: bool) -> None:
    handler = await remote.get("handlers", handler_id)
    if not isinstance(handler, dict) or "handler_id" not in handler:
        # An id such as "stats" is the name of something else there.
        raise Refused(NOT_FOUND, f"Handler '{printable(handler_id, 200)}' not found.")
    first = True
    async for entry in entries(remote, handler_id, [("include", "value")]):
        if first:
            started = {"time": handler["started_at"] or None, "run_id": handler["run_id"]}
            about = {**dict.fromkeys(entry), **started, "kind": "handler", "value": handler}
            write(_line(handler, about, values_as_text=values_as_text))
            first = False
        write(_line(handler, entry, values_as_text=values_as_text))


def _line(handler: Json, entry: Json, *, values_as_text: bool) -> str:
    told = {"handler_id": handler["handler_id"], "workflow_name": handler["workflow_name"], **entry}
    # The names of fields differ from wait to wait: as a text, they are a column of one type.
    for name in ("requirements", "value") if values_as_text else ("requirements",):
        if told[name] is not None:
            told[name] = json.dumps(told[name], ensure_ascii=False)
    return printable_json(json.dumps(told, ensure_ascii=False))
