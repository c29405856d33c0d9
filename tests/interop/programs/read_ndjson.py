"""Reads an NDJSON stream with a library: ``read_ndjson.py LIBRARY URL``. Each event becomes a line at once."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

Rows = Iterable[dict[str, Any]]


def jsonlines(url: str) -> Rows:
    with urlopen(url) as response:
        yield from importlib.import_module("jsonlines").Reader(response)


def ndjson(url: str) -> Rows:
    with urlopen(url) as response:
        yield from importlib.import_module("ndjson").reader(response)


def pandas(url: str) -> Rows:
    with urlopen(url) as response:
        for table in importlib.import_module("pandas").read_json(response, lines=True, chunksize=1):
            yield from table.to_dict("records")


def polars(url: str) -> Rows:
    with urlopen(url) as response:
        table = importlib.import_module("polars").read_ndjson(response.read())
    return table.to_dicts()  # type: ignore[no-any-return]


def duckdb(url: str) -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.ndjson"
        with urlopen(url) as response:
            file.write_bytes(response.read())
        table = importlib.import_module("duckdb").read_json(str(file), format="newline_delimited")
        return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]


def pyarrow(url: str) -> Rows:
    with urlopen(url) as response:
        table = importlib.import_module("pyarrow.json").read_json(response)
    return table.to_pylist()  # type: ignore[no-any-return]


def ijson(url: str) -> Rows:
    with urlopen(url) as response:
        file = SimpleNamespace(read=response.read1)
        yield from importlib.import_module("ijson").items(file, "", multiple_values=True, use_float=True)


def sqlite_utils(url: str) -> Rows:
    with tempfile.TemporaryDirectory() as folder, urlopen(url) as response:
        db = f"{folder}/events.db"
        insert = [sys.executable, "-m", "sqlite_utils", "insert", db, "events", "-", "--nl"]
        subprocess.run(insert, input=response.read(), check=True)
        rows = importlib.import_module("sqlite_utils").Database(db)["events"].rows
        return [{**row, "value": json.loads(row["value"])} for row in rows]


if __name__ == "__main__":
    library: Callable[[str], Rows] = globals()[sys.argv[1]]
    for row in library(sys.argv[2]):
        # Some libraries read times as such.
        print(json.dumps(row, default=str), flush=True)
