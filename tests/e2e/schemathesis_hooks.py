"""Loaded by schemathesis: requests for the model that is served, which its engine can and soon does answer.

A description cannot know the served model, nor what one engine refuses for reasons of its own. Valid stays valid here,
and invalid stays invalid.
"""

import os
import re
from typing import Any

import schemathesis

from gateway.api.schemas import MAX_CHOICES, MAX_TOKENS
from tests.support.servers import MODEL

SHORT = {"max_tokens": 8, "max_completion_tokens": 8, "n": 2}
KNOWN_TOKENS = 100
SERVED_OF_TEN = 8
STREAM_VARIABLE = "TEST_STREAM_ID"
"""Where the id of a stream is that can be read."""


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Called before every request, whatever phase made it."""
    given = str((case.path_parameters or {}).get("stream_id", ""))
    if re.fullmatch("[0-9a-f]{32}", given) and len(repr(case.query)) % 10 < SERVED_OF_TEN:
        case.path_parameters["stream_id"] = os.environ[STREAM_VARIABLE]
    body = case.body
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not body["model"]:
        return
    # By the text itself, so that the same seed makes the same requests.
    if len(repr(body)) % 10 < SERVED_OF_TEN:
        body["model"] = MODEL
    if "max_tokens" not in body and case.path.endswith("/completions"):
        body["max_tokens"] = SHORT["max_tokens"]
    for name, most in SHORT.items():
        if name in body:
            body[name] = at_most(body[name], most, MAX_CHOICES if name == "n" else MAX_TOKENS)
    body |= {name: answerable(body[name]) for name in ("prompt", "stop") if name in body}
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        as_text(message)


def at_most(value: Any, most: int, valid: int) -> Any:
    """A smaller whole number; what is none, or too large to be valid, stays."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return most if is_number and most < value <= valid and value == int(value) else value


def answerable(value: Any) -> Any:
    """No empty text, no token that the emulator does not have."""
    if isinstance(value, list):
        return [answerable(item) for item in value]
    return "x" if value == "" else at_most(value, KNOWN_TOKENS, MAX_TOKENS)


def as_text(message: Any) -> None:
    """Parts that an engine without eyes can read."""
    parts = message.get("content") if isinstance(message, dict) else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(part.get("type"), str) and 1 <= len(part["type"]) <= 64:
            part |= {"type": "text", "text": "x"}
