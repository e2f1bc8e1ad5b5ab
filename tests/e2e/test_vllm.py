"""A real vLLM behind the gateway: what the emulator claims, held against the engine that it emulates."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.support.servers import Engine, Gateway, Gateways
from tests.support.waiting import eventually

CALL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "def walk(self, path):"}],
    "max_tokens": 64,
    "temperature": 0,
}
LONG = 3900
TRIES = 6
"""Tokens: seconds of work, in which a client can leave."""


@pytest.fixture
def served(gateway: Gateways, vllm_server: Engine) -> Gateway:
    """A gateway before it."""
    return gateway([vllm_server])


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """Signed in at the gateway."""
    async with served.client() as signed_in:
        yield signed_in


@pytest.fixture
async def direct(vllm_server: Engine) -> AsyncIterator[httpx2.AsyncClient]:
    """At the engine itself."""
    async with httpx2.AsyncClient(base_url=vllm_server.url, timeout=60.0, trust_env=False) as engine:
        yield engine


async def answer(client: httpx2.AsyncClient, **body: object) -> dict[str, Any]:
    """A whole chat answer."""
    reply = await client.post("/v1/chat/completions", json={**CALL, **body})
    assert reply.status_code == httpx2.codes.OK, reply.text
    decoded: dict[str, Any] = reply.json()
    return decoded


async def events(client: httpx2.AsyncClient, **body: object) -> list[dict[str, Any]]:
    """The chunks of a streamed chat, which must end as OpenAI's do."""
    call = {**CALL, "stream": True, "stream_options": {"include_usage": True}, **body}
    async with client.stream("POST", "/v1/chat/completions", json=call) as reply:
        assert reply.status_code == httpx2.codes.OK
        assert reply.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") async for line in reply.aiter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(each) for each in data]


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What a reader of the stream has before him."""
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def usage_of(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and answer."""
    return body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]


async def test_streams(client: httpx2.AsyncClient, direct: httpx2.AsyncClient, vllm_server: Engine) -> None:
    """A stream through the gateway says what the engine's own stream says, and counts the same."""
    through = await events(client, model=vllm_server.model)
    own = await events(direct, model=vllm_server.model)

    assert text_of(through) == text_of(own)
    assert usage_of(through[-1]) == usage_of(own[-1])
    assert usage_of(through[-1])[1] == CALL["max_tokens"]
    assert len(through) > CALL["max_tokens"] / 2


async def test_whole_answers(client: httpx2.AsyncClient, direct: httpx2.AsyncClient, vllm_server: Engine) -> None:
    """An answer in one piece is the engine's own: text, reason of its end, usage."""
    through = await answer(client, model=vllm_server.model)
    own = await answer(direct, model=vllm_server.model)

    assert through["choices"][0]["message"]["content"] == own["choices"][0]["message"]["content"]
    assert through["choices"][0]["finish_reason"] == own["choices"][0]["finish_reason"] == "length"
    assert usage_of(through) == usage_of(own)


async def test_usage_is_hidden_unless_asked_for(client: httpx2.AsyncClient, vllm_server: Engine) -> None:
    """The gateway always asks the engine for usage and shows it only to who wants it."""
    chunks = await events(client, model=vllm_server.model, stream_options=None)

    assert text_of(chunks)
    assert all(not chunk.get("usage") for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


async def test_completions_by_token_ids(
    client: httpx2.AsyncClient, direct: httpx2.AsyncClient, vllm_server: Engine
) -> None:
    """Fields that only engines know pass through in both directions."""
    call = {
        "model": vllm_server.model,
        "prompt": [300, 301, 302],
        "max_tokens": 16,
        "temperature": 0,
        "return_token_ids": True,
    }
    through = (await client.post("/v1/completions", json=call)).json()
    own = (await direct.post("/v1/completions", json=call)).json()

    assert len(own["choices"][0]["token_ids"]) == 16
    assert through["choices"][0]["token_ids"] == own["choices"][0]["token_ids"]
    assert through["choices"][0]["text"] == own["choices"][0]["text"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole answer"])
async def test_a_client_that_leaves_ends_the_work(
    client: httpx2.AsyncClient, served: Gateway, vllm_server: Engine, stream: bool
) -> None:
    """Within a second the engine works on nothing; by the best of some, for all share two cores with a busy engine."""
    call = {**CALL, "model": vllm_server.model, "max_tokens": LONG, "stream": stream}

    times: list[float] = []
    while len(times) < TRIES and min(times, default=math.inf) > 1.0:
        times.append(await rest_after_leaving(client, served, call, vllm_server))

    assert min(times) <= 1.0, times


async def rest_after_leaving(
    client: httpx2.AsyncClient, served: Gateway, call: dict[str, Any], engine: Engine
) -> float:
    """Send a request, leave when the engine works on it; the seconds until it works on nothing.

    Infinite where it came to the end of the answer: on starved cores the client may hear of it that late.
    """
    before = engine.generated()
    if call["stream"]:
        # On two cores its server may not answer /metrics while it works: the first token says that it does.
        async with client.stream("POST", "/v1/chat/completions", json=call) as reply:
            await anext(reply.aiter_bytes())
    else:
        request = asyncio.create_task(client.post("/v1/chat/completions", json=call))
        await eventually(lambda: at_work(request, served), 30.0, what="the engine at work")
        request.cancel()
        await asyncio.wait([request])
    left = time.monotonic()
    await eventually(lambda: is_running(engine, 0), 60.0, what="the engine at rest")
    rested = time.monotonic()
    assert engine.waiting() == 0
    return rested - left if engine.generated() - before < LONG else math.inf


async def at_work(request: asyncio.Task[httpx2.Response], served: Gateway) -> bool:
    """Whether the gateway has the job at its engine, or has had it; a request that was refused says why."""
    if request.done():
        assert request.result().status_code == 200, request.result().text
        return True
    metrics = await asyncio.to_thread(served.metrics)
    return "andante_jobs_running" in metrics and metrics.value("andante_jobs_running") == 1


async def is_running(engine: Engine, count: int) -> bool:
    """Asked in a thread, so that the client's own connection goes on meanwhile."""
    return await asyncio.to_thread(engine.running) == count


async def test_the_engine_s_own_words_about_a_bad_request(client: httpx2.AsyncClient, vllm_server: Engine) -> None:
    """What only the engine can judge is refused with its reason, as a 400 in OpenAI's form."""
    bad = {**CALL, "model": vllm_server.model, "response_format": {"type": "no such format"}}

    reply = await client.post("/v1/chat/completions", json=bad)

    assert reply.status_code == httpx2.codes.BAD_REQUEST
    assert reply.json()["error"]["message"]
