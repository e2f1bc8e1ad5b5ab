"""From pydantic's list of errors to the one that helps most, in the form of OpenAI's: where, and what."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import InvalidRequest


def refusal(errors: Sequence[Mapping[str, Any]], body: object) -> InvalidRequest:
    """The error that lies deepest: of a union's branches the one that came furthest with what was sent."""
    located = [(_place(error, body), error) for error in errors]
    place, error = max(located, key=lambda pair: len(pair[0]))  # the first of equals
    if error["type"] == "json_invalid":
        return InvalidRequest("The body is not valid JSON.")
    param = _spelled(place)[:200]
    if not param:
        return InvalidRequest("The body must be a JSON object." if body else "The body is missing.")
    return InvalidRequest(f"{error['msg']}: '{param}'."[:1000], param=param)


def _place(error: Mapping[str, Any], body: object) -> list[str | int]:
    """Where in the request, without the names of a union's branches, which pydantic puts into the location."""
    location = list(error["loc"])
    if location and location[0] in ("query", "path", "header"):
        return location[1:]
    if location and location[0] == "body":
        del location[0]
    place: list[str | int] = []
    value = body
    for number, part in enumerate(location):
        if isinstance(value, dict):
            missing = error["type"] == "missing" and number == len(location) - 1
            if part not in value and not missing:
                continue
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        place.append(part)
    return place


def _spelled(place: Sequence[str | int]) -> str:
    """`messages[0].content`, as OpenAI writes it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
