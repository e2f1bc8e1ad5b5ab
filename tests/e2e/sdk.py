"""What every OpenAI SDK must see through the gateway, whatever its language.

A run of an SDK is one JSON object: `stream`, `slow` (with silence before the first token, so that comments come),
`whole`, `completion`, `models` and `errors`.
"""

from typing import Any

import pytest

from tests.support.servers import Emulators, Engine, Gateway, Gateways

REFUSALS = {
    "bad_key": ("AuthenticationError", 401, "invalid_api_key", None),
    "bad_key_stream": ("AuthenticationError", 401, "invalid_api_key", None),
    "unknown_model": ("NotFoundError", 404, "model_not_found", "model"),
    "bad_body": ("BadRequestError", 400, "invalid_request", "messages"),
    "bad_body_stream": ("BadRequestError", 400, "invalid_request", "messages"),
    "too_long": ("BadRequestError", 400, "context_length_exceeded", None),
    "too_long_answer": ("BadRequestError", 400, "context_length_exceeded", None),
}
"""The SDK's own class, then HTTP status, code and the field at fault (where only one can be)."""


@pytest.fixture
def engine(emulator: Emulators) -> Engine:
    """One emulated engine."""
    return emulator()


@pytest.fixture
def served(gateway: Gateways, engine: Engine) -> Gateway:
    """A gateway before it that soon sends headers and comments into a silence."""
    return gateway([engine], server={"head_timeout_s": 0.2, "keepalive_s": 0.2})


def check(seen: dict[str, Any], engine: Engine) -> None:
    """Assert what a run must have seen."""
    stream, slow, whole = seen["stream"], seen["slow"], seen["whole"]
    assert stream["text"]
    assert stream["text"] == whole["text"] == slow["text"]
    assert stream["finish_reason"] == whole["finish_reason"]
    assert stream["finish_reason"] in {"stop", "length"}
    assert counts(stream) == counts(whole) == counts(slow)
    assert 1 <= whole["usage"]["completion_tokens"] <= 40
    assert stream["chunks"] >= 3
    assert seen["completion"]
    assert seen["models"] == [engine.model]
    for name, (kind, status, code, param) in REFUSALS.items():
        refusal = seen["errors"][name]
        assert refusal is not None, f"{name} was not refused"
        assert (refusal["kind"], refusal["status"], refusal["code"]) == (kind, status, code), name
        assert refusal["type"], name
        if param is not None:
            assert refusal["param"] == param, name


def counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    """Prompt, answer and all tokens."""
    usage = answer["usage"]
    total: int = usage["total_tokens"]
    assert total == usage["prompt_tokens"] + usage["completion_tokens"]
    return usage["prompt_tokens"], usage["completion_tokens"], total
