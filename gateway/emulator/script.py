"""Answers of a prescribed form: JSON that fits a schema, as a tool call or a structured answer. Pure.

Only as much of JSON schema as examples need; what is not understood becomes a string.
"""

from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 8

_NOTE = "The river takes the time that the valley gives."


def example(schema: object, depth: int = 0) -> object:
    """A value that fits the schema's types, enums, constants and required properties."""
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return _NOTE
    if "const" in schema:
        return schema["const"]
    options = schema.get("enum") or []
    if options:
        return options[0]
    for combined in ("anyOf", "oneOf", "allOf"):
        if schema.get(combined):
            return example(schema[combined][0], depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind == "object" or "properties" in schema:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        return {name: example(value, depth + 1) for name, value in properties.items()}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1)))
        return [example(schema.get("items"), depth + 1)] * count
    scalars: dict[object, object] = {
        "integer": schema.get("minimum", 42),
        "number": schema.get("minimum", 4.2),
        "boolean": True,
        "null": None,
    }
    return scalars.get(kind, _NOTE)


def json_object() -> dict[str, object]:
    """The answer when any JSON object will do."""
    return {"answer": _NOTE, "tokens": 42, "pleased": True, "river": "川"}
