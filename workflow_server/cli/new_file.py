"""Files that are written whole or not at all, and never in the place of another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workflow_server.errors import WorkflowServerError

EXISTS = "it exists, and is not replaced"


@dataclass(eq=False)
class FileNotWritten(WorkflowServerError):
    """Raised for a file that could not be written; nothing is left of it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.path}' was not written: {self.reason}."


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file, readable for its owner only, which gets its name when the block ends without an error.

    Until then it has a hidden name in the same folder, which a killed process leaves behind.

    Raises:
        FileNotWritten: there is something under this name, or it cannot be written.
    """
    if os.path.lexists(path):
        raise FileNotWritten(str(path), EXISTS)
    partial: str | None = None
    try:
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # Not renamed: that would replace a file that came meanwhile.
        os.link(partial, path)
    except FileExistsError as error:
        raise FileNotWritten(str(path), EXISTS) from error
    except OSError as error:
        raise FileNotWritten(str(path), error.strerror or str(error)) from error
    finally:
        if partial is not None:
            os.unlink(partial)
