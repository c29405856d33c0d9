"""JSON schemas for clients, also of models with a part that has none."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema


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
