"""JSON schemas for clients, also of models with parts that have none."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


class _AnySchema(GenerateJsonSchema):
    """Describes a class that JSON does not know as any value, and omits a default that JSON cannot hold."""

    ignored_warning_kinds = frozenset({"skipped-choice", "non-serializable-default"})  # type: ignore[assignment]

    def handle_invalid_for_json_schema(
        self,
        schema: core_schema.CoreSchema,  # noqa: ARG002
        error_info: str,  # noqa: ARG002
    ) -> JsonSchemaValue:
        return {}


def json_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a model."""
    return kind.model_json_schema(schema_generator=_AnySchema)
