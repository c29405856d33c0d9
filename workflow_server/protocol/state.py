"""The model of a run's state."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workflow_server.protocol.responses import Response


class StateData(Response):
    """The contents of ``ctx.store`` of a handler's current run."""

    handler_id: str
    run_id: str
    state: dict[str, Any] = Field(
        {},
        description='The values by their keys or fields, at most 1 MB. Secrets are "(hidden)"; of texts that are '
        "longer than 10,000 characters the begin is told, and their length.",
    )
    kind: str = Field(description="dict, or the name of the class that the workflow's steps declare.")
    as_of: str = Field(
        description="The state is that of this time: of a run that has ended, its end. ISO 8601, UTC. Of a step that "
        "runs it has nothing yet."
    )
    truncated: bool = Field(description="Something was cut or left out for its size.")

    def to_json(self, state: str) -> str:
        """Return the answer as JSON, with this as its state: JSON that is not parsed."""
        return f'{self.model_dump_json(exclude={"state"})[:-1]},"state":{state}}}'
