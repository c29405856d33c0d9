"""The output of commands for people and programs: tables, JSON and progress.

Where stdout is not a terminal, a table is plain text without colours, each row on one line of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from workflow_server.printable import printable, printable_json

NUMBERS = (int, float)

json_lines = click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")


class Report(Protocol):
    """A function that is told how much of a work is done, and how much there is."""

    def __call__(self, done: int, total: int) -> None:
        """Show the progress."""


def counted(number: int, name: str) -> str:
    """Return a number of things, as in "1 handler" and "1,200 handlers"."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_json_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    click.echo(printable_json(json.dumps(value, ensure_ascii=False)))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows below the names of their columns; numbers are aligned to the right."""
    if sys.stdout.isatty():
        _print_rich(columns, rows)
        return
    lines = [[column.upper() for column in columns], *([_text(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for number, line in enumerate(lines):
        cells = []
        for place, (text, width) in enumerate(zip(line, widths, strict=True)):
            is_number = number > 0 and isinstance(rows[number - 1][place], NUMBERS)
            cells.append(text.rjust(width) if is_number else text.ljust(width))
        click.echo("  ".join(cells).rstrip())


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        is_numeric = bool(rows) and all(isinstance(row[place], NUMBERS) for row in rows)
        table.add_column(column.upper(), justify="right" if is_numeric else "left", overflow="fold")
    for row in rows:
        # As Text, so that brackets in a value are not taken for markup.
        table.add_row(*(Text(_text(value)) for value in row))
    Console().print(table)


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    amount = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1_000:
            return f"{count:,} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:,.1f} TB"


@contextmanager
def progress(work: str) -> Iterator[Report]:
    """Show the progress of a work on stderr, for as long as the block takes; nothing where that is not a terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as shown:
        task = shown.add_task(work, total=None)

        def report(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        yield report
