"""A ledger in a file: the outside world, to which a workflow's steps do something that must not be done twice."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One posting; the reference tells whether it is there already."""

    reference: str
    customer: str
    amount: str


class Ledger:
    """Entries in a file, one JSON object a line, each reference once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def from_environment(cls) -> Ledger:
        """The ledger in the file that NIGHTLY_BATCH_LEDGER names, else in ``data/``."""
        return cls(Path(os.environ.get("NIGHTLY_BATCH_LEDGER", "data/nightly_ledger.ndjson")))

    def post(self, entry: Entry) -> bool:
        """Write the entry to disk unless its reference stands there already; True where it was written.

        A line that a crash cut short is no entry: it is cut off first.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if any(json.loads(line)["reference"] == entry.reference for line in whole.splitlines()):
                return False
            file.truncate(len(whole))
            file.write(json.dumps(entry._asdict()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return True
