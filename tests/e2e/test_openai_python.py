"""The OpenAI SDK for Python, unchanged."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import openai
import pytest

from tests.e2e.sdk import check, counts, engine, served
from tests.support.servers import Engine, Gateway

__all__ = ["engine", "served"]

CALL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me about the river."}],
    "max_tokens": 40,
    "temperature": 0,
}

LONG = [{"role": "user", "content": "the river " * 100_000}]


@pytest.fixture
async def sdk(served: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client as its users make it."""
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        yield client


async def streamed(sdk: openai.AsyncOpenAI, model: str, **extra: object) -> dict[str, Any]:
    """A streamed chat, put together as an application does it."""
    stream = await sdk.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, extra_body=extra, **CALL
    )
    text, finish_reason, usage, chunks = "", None, None, 0
    async for chunk in stream:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish_reason = choice.finish_reason or finish_reason
        usage = chunk.usage or usage
        chunks += 1
    counted = usage.model_dump() if usage else None
    return {"text": text, "finish_reason": finish_reason, "usage": counted, "chunks": chunks}


async def whole(sdk: openai.AsyncOpenAI, model: str) -> dict[str, Any]:
    """A chat in one piece."""
    answer = await sdk.chat.completions.create(model=model, **CALL)
    (choice,) = answer.choices
    counted = answer.usage.model_dump() if answer.usage else None
    return {"text": choice.message.content, "finish_reason": choice.finish_reason, "usage": counted}


async def completion(sdk: openai.AsyncOpenAI, model: str) -> str:
    """A streamed text completion."""
    stream = await sdk.completions.create(model=model, prompt="The river", max_tokens=40, stream=True)
    return "".join([choice.text async for chunk in stream for choice in chunk.choices])


async def refused(call: Awaitable[object]) -> dict[str, Any] | None:
    """How the SDK reports that it was refused; None if it was not."""
    try:
        await call
    except openai.APIStatusError as error:
        said = {"code": error.code, "type": error.type, "param": error.param}
        return {"kind": type(error).__name__, "status": error.status_code, **said}
    return None


async def test_the_python_sdk_is_served(sdk: openai.AsyncOpenAI, served: Gateway, engine: Engine) -> None:
    """Streams, whole answers, models and errors are what the SDK expects, comments in a silence included."""
    model = engine.model
    stranger = sdk.with_options(api_key="sk-nobody")
    bad: dict[str, Any] = {**CALL, "messages": "hello"}

    seen: dict[str, Any] = {
        "stream": await streamed(sdk, model),
        "slow": await streamed(sdk, model, emulator_faults={"slow_first_token_s": 1}),
        "whole": await whole(sdk, model),
        "completion": await completion(sdk, model),
        "models": [each.id async for each in sdk.models.list()],
    }
    errors = {
        "bad_key": stranger.chat.completions.create(model=model, **CALL),
        "bad_key_stream": stranger.chat.completions.create(model=model, stream=True, **CALL),
        "unknown_model": sdk.chat.completions.create(model="no-such-model", **CALL),
        "bad_body": sdk.chat.completions.create(model=model, **bad),
        "bad_body_stream": sdk.chat.completions.create(model=model, stream=True, **bad),
        "too_long": sdk.chat.completions.create(model=model, **{**CALL, "messages": LONG}),
        "too_long_answer": sdk.chat.completions.create(model=model, **{**CALL, "max_tokens": 900_000}),
    }
    seen["errors"] = {name: await refused(call) for name, call in errors.items()}

    check(seen, engine)


async def test_the_answer_is_the_engine_s_own(sdk: openai.AsyncOpenAI, engine: Engine) -> None:
    """Through the gateway comes what the engine says to who asks it directly."""
    async with openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none") as direct:
        through, own = await whole(sdk, engine.model), await whole(direct, engine.model)

    assert through["text"] == own["text"]
    assert through["finish_reason"] == own["finish_reason"]
    assert counts(through) == counts(own)
