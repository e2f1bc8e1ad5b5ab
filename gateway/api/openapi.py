"""The description that clients read: FastAPI's, made true where it cannot know better."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.api.auth import SCHEMES

_PLACE: Final = "#/components/schemas/"
_NEVER_SENT: Final = ("HTTPValidationError", "ValidationError")


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """For an operation that reads its body by itself; `install` has to know the model."""
    content = {"application/json": {"schema": {"$ref": _PLACE + model.__name__}}}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Correct what the app says of itself; `bodies` are the models of `json_body`."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        description = describe()
        components = description.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for path in description["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)  # validation is answered with 400
        for name in _NEVER_SENT:
            schemas.pop(name, None)
        schemas.update(_schemas(bodies))
        components.setdefault("securitySchemes", {}).update(SCHEMES)
        return description

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _schemas(models: Sequence[type[BaseModel]]) -> Mapping[str, Any]:
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_PLACE + "{model}")
    found: Mapping[str, Any] = definitions.get("$defs", {})
    return found
