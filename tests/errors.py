"""The tree of errors, for tests that hold something against all of it."""

from __future__ import annotations

import workflow_server.cli.main
import workflow_server.server  # noqa: F401 with the command, all that raises
from workflow_server.errors import WorkflowServerError


def every_error(base: type[WorkflowServerError] = WorkflowServerError) -> list[type[WorkflowServerError]]:
    """Return every class of the tree, the bases included."""
    kinds = [base]
    for kind in base.__subclasses__():
        kinds.extend(every_error(kind))
    return kinds
