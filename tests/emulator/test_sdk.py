"""The OpenAI Python SDK, unchanged, against the emulator."""

from collections.abc import AsyncIterator

import openai
import pytest

from tests.support.servers import Engine


@pytest.fixture
async def sdk(engine: Engine) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_chat_streams_and_whole_answers(sdk: openai.AsyncOpenAI, engine: Engine) -> None:
    """The usual two calls."""
    whole = await sdk.chat.completions.create(
        model=engine.model, messages=[{"role": "user", "content": "Hi"}], temperature=0, max_tokens=30
    )
    chunks = await sdk.chat.completions.create(
        model=engine.model,
        messages=[{"role": "user", "content": "Hi"}],
        temperature=0,
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    async for chunk in chunks:
        usage = chunk.usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)

    assert whole.choices[0].message.content == text
    assert usage is not None
    assert usage == whole.usage


async def test_completions_and_models(sdk: openai.AsyncOpenAI, engine: Engine) -> None:
    """The older endpoint, with ids, and the list."""
    answer = await sdk.completions.create(model=engine.model, prompt=[65, 66, 67], max_tokens=5)

    assert answer.choices[0].finish_reason == "length"
    assert [engine.model] == [model.id async for model in sdk.models.list()]


async def test_errors_become_the_sdks_exceptions(sdk: openai.AsyncOpenAI, engine: Engine) -> None:
    """By status."""
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await sdk.completions.create(model="other", prompt="x")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        await sdk.completions.create(model=engine.model, prompt="x", max_tokens=10**6)
