"""What a workflow is made of, for clients: JSON schemas and the graph, also where a part of it has no schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from workflows.representation import build

from workflow_server.runtime.engine import Workflow


class _AnySchema(GenerateJsonSchema):
    """A field of a class that JSON does not know may be anything; a default that JSON cannot hold is left out."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]

    def handle_invalid_for_json_schema(
        self,
        schema: core_schema.CoreSchema,  # noqa: ARG002
        error_info: str,  # noqa: ARG002
    ) -> JsonSchemaValue:
        return {}


def json_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a model."""
    return kind.model_json_schema(schema_generator=_AnySchema)


def graph(workflow: Workflow) -> dict[str, Any]:
    """The engine's representation of a workflow, with such schemas."""
    with _lenient_engine():
        return build.get_workflow_representation(workflow).model_dump(mode="json")


@contextmanager
def _lenient_engine() -> Iterator[None]:
    # The engine asks each event for its schema with pydantic's own generator, and takes no other; one field without a
    # schema would cost the whole graph.
    strict = build._event_schema
    build._event_schema = _event_schema
    try:
        yield
    finally:
        build._event_schema = strict


def _event_schema(type_annotation: Any) -> dict[str, Any] | None:
    is_model = isinstance(type_annotation, type) and issubclass(type_annotation, BaseModel)
    return json_schema(type_annotation) if is_model else None
