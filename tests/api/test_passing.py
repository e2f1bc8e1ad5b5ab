"""What reaches the engine: the client's own object, less what is the gateway's, plus what is documented."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from gateway.runtime.admission import WITHHELD
from tests.api.asking import CHAT, COMPLETIONS, chat
from tests.api.recorder import Recorder, recording
from tests.support.servers import MODEL, Engine, Gateway, Gateways

ANYTHING: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "logprobs": True,
    "top_logprobs": 3,
    "seed": 2**63 - 1,
    "logit_bias": {"50256": -100},
    "user": "Zoë \u0000 \U0001f600",
    "min_p": 1e-7,
    "guided_regex": "^[a-z]+$",
    "structured_outputs": {"choice": ["yes", "no"]},
    "chat_template_kwargs": {"enable_thinking": False},
    "stop_token_ids": [1, 2],
    "metadata": None,
    "future": [[], {}, "", 0, -0.5, False, None, 10**30, {"deep": {"deeper": [1]}}],
    "temperature": 0.1,
    "top_p": 1,
    "stop": ["\n", "."],
    "n": 1,
}


@pytest.fixture
def engine() -> Iterator[tuple[Engine, Recorder]]:
    with recording() as engine:
        yield engine


@pytest.fixture
def served(gateway: Gateways, engine: tuple[Engine, Recorder]) -> Gateway:
    return gateway([engine[0]])


@pytest.fixture
def recorder(engine: tuple[Engine, Recorder]) -> Recorder:
    return engine[1]


@pytest.fixture
async def client(served: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    async with served.client() as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(**ANYTHING, messages=[{"role": "user", "content": "x", "name": "n", "odd": [1]}])),
        (CHAT, chat(messages=[{"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "x"}]}])),
        (CHAT, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])),
        (COMPLETIONS, {"model": MODEL, "prompt": ["a", "b"], "suffix": "z", "echo": True, "messages": 7}),
        (COMPLETIONS, {"model": MODEL, "prompt": [[1, 2], [3]], "max_tokens": 5}),
    ],
)
async def test_unknown_fields_pass_untouched(
    client: httpx2.AsyncClient, recorder: Recorder, path: str, body: dict[str, Any]
) -> None:
    """A whole answer's request is the client's, field for field; a stream's asks for usage and token ids besides."""
    assert (await client.post(path, json=body)).status_code == 200
    assert recorder.bodies[-1] == body

    streamed = {**body, "stream": True, "stream_options": {"continuous_usage_stats": True}}
    assert (await client.post(path, json=streamed)).status_code == 200
    assert recorder.bodies[-1] == {
        **streamed,
        "stream_options": {"continuous_usage_stats": True, "include_usage": True},
        "return_token_ids": True,
    }


@pytest.mark.parametrize("prompt", ["The river", [1, 2], ""])
async def test_a_list_of_one_prompt_is_that_prompt(client: httpx2.AsyncClient, recorder: Recorder, prompt: Any) -> None:
    """Some libraries always send a list; several prompts could not be continued after a cut, one can."""
    for given in (prompt, [prompt]):
        body = {"model": MODEL, "prompt": given, "max_tokens": 5}
        assert (await client.post(COMPLETIONS, json=body)).status_code == 200
        assert recorder.bodies[-1]["prompt"] == prompt


async def test_the_gateway_s_own_fields_stay_here(client: httpx2.AsyncClient, recorder: Recorder) -> None:
    """Nobody reaches another's jobs at a shared engine."""
    own = {**dict.fromkeys(WITHHELD, 1), "pace": {"kind": "reading", "words_per_minute": None}}
    assert (await client.post(CHAT, json=chat(**own))).status_code == 200

    assert recorder.bodies[-1] == chat()


async def test_the_engine_learns_nothing_of_the_key(
    client: httpx2.AsyncClient, served: Gateway, recorder: Recorder
) -> None:
    """Neither the client's key nor its request id, nor headers that engines obey."""
    headers = {"x-request-id": "mine", "x-override-rid": "yours", "cookie": "a=b"}
    assert (await client.post(CHAT, json=chat(), headers=headers)).status_code == 200

    seen = json.dumps(recorder.headers[-1])
    assert served.key not in seen
    assert set(recorder.headers[-1]) == {"host", "content-type", "content-length", "x-request-id"}
    assert recorder.headers[-1]["x-request-id"] != "mine"
