"""A ledger in a file: it stands for the outside world, where an effect must not happen twice."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One posting; its reference shows whether it was already made."""

    reference: str
    customer: str
    amount: str


class Ledger:
    """Entries in a file, one JSON object a line, each reference once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def from_environment(cls) -> Ledger:
        """Return the ledger in the file that NIGHTLY_BATCH_LEDGER names, by default in ``data/``."""
        return cls(Path(os.environ.get("NIGHTLY_BATCH_LEDGER", "data/nightly_ledger.ndjson")))

    def post(self, entry: Entry) -> bool:
        """Write the entry to disk unless its reference is there already, and return whether it was written.

        A line that a crash cut short is not an entry, and is removed first.
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
