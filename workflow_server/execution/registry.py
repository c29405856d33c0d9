"""The workflows that are served, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workflows.errors import WorkflowValidationError

from workflow_server.execution.durable import DurableRuntime
from workflow_server.execution.engine import Event, Workflow, adopt, validate
from workflow_server.execution.exceptions import (
    DuplicateWorkflow,
    InvalidWorkflow,
    InvalidWorkflowName,
    WorkflowNotFound,
)
from workflow_server.execution.renaming import Renamed
from workflow_server.execution.workflow import ServedWorkflow

_NAME = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class Registry:
    """The workflows of a server, by name."""

    def __init__(self, runtime: DurableRuntime) -> None:
        self.runtime = runtime
        self._workflows: dict[str, ServedWorkflow] = {}

    def add(
        self,
        name: str,
        workflow: Workflow,
        additional_events: Sequence[type[Event]] = (),
        *,
        renamed: Renamed | None = None,
        version: str | None = None,
    ) -> None:
        """Serve a workflow under a name; see ``WorkflowServer.add_workflow``.

        Raises:
            InvalidWorkflowName, DuplicateWorkflow, InvalidWorkflow: why not.
        """
        if not _NAME.fullmatch(name) or name in {".", ".."}:
            raise InvalidWorkflowName(name)
        if name in self._workflows:
            raise DuplicateWorkflow(name)
        if not isinstance(workflow, Workflow):
            raise InvalidWorkflow(name, f"{type(workflow).__name__} is not an instance of workflows.Workflow.")
        try:
            validate(workflow)
            served = ServedWorkflow(name, workflow, additional_events, renamed=renamed, version=version)
        except (WorkflowValidationError, ValueError) as error:
            raise InvalidWorkflow(name, str(error)) from error
        adopt(workflow, self.runtime)
        served.run_function = self.runtime.register(workflow).workflow_run_fn
        self._workflows[name] = served

    def names(self) -> list[str]:
        """Return the names of all workflows, in the order in which they were added."""
        return list(self._workflows)

    def get(self, name: str) -> ServedWorkflow:
        """Return the workflow of this name.

        Raises:
            WorkflowNotFound: there is none.
        """
        served = self._workflows.get(name)
        if served is None:
            raise WorkflowNotFound(name)
        return served

    def find(self, name: str) -> ServedWorkflow | None:
        """Return the workflow of this name, if it is registered."""
        return self._workflows.get(name)
