"""A request's JSON body: read once, into plain objects, and refused in OpenAI's words when it is none."""

from typing import Any, Final

import msgspec
from fastapi import Request

from gateway.errors import InvalidRequest

MAX_DEPTH: Final = 128  # deeper than any schema of a tool; what comes after us may recurse


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. InvalidRequest for everything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A page of another origin can send a form or plain text without being asked first, JSON it cannot.
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise InvalidRequest("The body must be JSON, and the content-type header application/json.")
    raw = await request.body()
    try:
        body: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise InvalidRequest("The body must be a JSON object, and its numbers must be numbers of JSON.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest("The body is not valid JSON.") from error
    except RecursionError as error:
        raise _too_deep() from error
    # Each level costs two bytes, so that most bodies need no closer look.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(body)
    return body


def _check_depth(body: dict[str, Any]) -> None:
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for node in level
            for item in (node.values() if type(node) is dict else node)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is nested more than {MAX_DEPTH} levels deep.")
