"""The HTTP surface, held against what vLLM sends."""

import json

import httpx2
import pytest

from gateway.emulator.text import Language
from tests.emulator.client import HI, Json, ask, chat, stream
from tests.support.servers import Engine

COMPLETIONS = "/v1/completions"


async def test_a_chat_stream_has_the_shape_of_vllms(http: httpx2.AsyncClient) -> None:
    """Role first, one token a chunk, the reason in the last, then usage, then [DONE]."""
    body = chat(max_tokens=3, stream_options={"include_usage": True})
    got = await stream(http, body, **{"x-request-id": "gw-1"})
    role, *tokens, usage = got.chunks

    assert got.done
    assert {"chatcmpl-gw-1"} == {chunk["id"] for chunk in got.chunks}
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in got.chunks}
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in tokens] == [None, None, "length"]
    assert all("usage" not in chunk for chunk in [role, *tokens])
    assert usage["choices"] == []
    assert tuple(usage["usage"][f"{kind}_tokens"] for kind in ("prompt", "completion", "total")) == (13, 3, 16)


async def test_the_same_answer_comes_whole_or_streamed(http: httpx2.AsyncClient) -> None:
    """Text, reason and usage; greedy is greedy."""
    streamed = await stream(http, chat(stream_options={"include_usage": True}))
    whole = await ask(http, chat())
    choice = whole["choices"][0]

    assert whole["object"] == "chat.completion"
    assert "".join(streamed.content()) == choice["message"]["content"]
    assert "stop" == streamed.finish() == choice["finish_reason"]
    assert streamed.chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]


async def test_a_completion_stream_has_the_shape_of_vllms(http: httpx2.AsyncClient) -> None:
    """No role; the prompt's ids in the first token's chunk."""
    got = await stream(http, {"prompt": "The river", "max_tokens": 4, "return_token_ids": True}, COMPLETIONS)
    tokenized = (await http.post("/tokenize", json={"prompt": "The river"})).json()

    assert got.done
    assert len(got.chunks) == 4
    assert {"text_completion"} == {chunk["object"] for chunk in got.chunks}
    assert tokenized["tokens"] == got.chunks[0]["choices"][0]["prompt_token_ids"]
    assert all("prompt_token_ids" not in chunk["choices"][0] for chunk in got.chunks[1:])


async def test_a_stream_cut_anywhere_continues_exactly(http: httpx2.AsyncClient, language: Language) -> None:
    """From prompt + ids through completions, with the rest of max_tokens, seeded and not greedy too."""
    for sampling in ({"temperature": 0}, {"temperature": 0.8, "seed": 7}):
        got = await stream(http, {"messages": HI, "max_tokens": 120, "return_token_ids": True, **sampling})
        prompt, ids = got.chunks[0]["prompt_token_ids"], got.ids()
        for cut in range(0, len(ids), 17):
            rest = {"prompt": prompt + ids[:cut], "max_tokens": 120 - cut, "return_token_ids": True, **sampling}
            resumed = await stream(http, rest, COMPLETIONS)
            assert ids[cut:] == resumed.ids()
            assert got.finish() == resumed.finish()
            shown = language.vocabulary.decode(ids[:cut], skip_special=True).rstrip("\ufffd")
            assert "".join(got.content()) == shown + "".join(resumed.content())


async def test_a_chat_continues_from_text(http: httpx2.AsyncClient) -> None:
    """continue_final_message without a new turn."""
    texts = (await stream(http, chat(max_tokens=60))).content()
    begun = [*HI, {"role": "assistant", "content": "".join(texts[:20])}]
    options = {"continue_final_message": True, "add_generation_prompt": False}
    rest = await stream(http, chat(messages=begun, max_tokens=40, **options))

    assert texts[20:] == rest.content()


async def test_several_prompts_and_choices_have_an_index_each(http: httpx2.AsyncClient) -> None:
    """Prompt by prompt, n choices each; usage counts each prompt once."""
    body: Json = {"prompt": ["One", "Two"], "n": 2, "max_tokens": 5, "seed": 1, "ignore_eos": True}
    whole = await ask(http, body, COMPLETIONS)
    got = await stream(http, body, COMPLETIONS)

    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    for choice in whole["choices"]:
        assert choice["text"] == "".join(got.content(choice["index"]))
    assert len({choice["text"] for choice in whole["choices"]}) == 4
    assert whole["usage"]["completion_tokens"] == 20
    ids = await ask(http, {"prompt": [[65, 66], [67]], "max_tokens": 1}, COMPLETIONS)
    assert ids["usage"]["prompt_tokens"] == 3


async def test_the_prefix_cache_shows_in_usage_and_metrics(http: httpx2.AsyncClient, engine: Engine) -> None:
    """A prompt that was seen is cached up to its last full block; a salt keeps others out."""
    prompt = list(range(1000, 1100))
    hits = engine.metrics().value("vllm:prefix_cache_hits_total")
    cached = []
    for salt in ("a", "a", "b"):
        body = {"prompt": prompt, "max_tokens": 1, "cache_salt": salt}
        usage = (await ask(http, body, COMPLETIONS))["usage"]
        cached.append(usage["prompt_tokens_details"]["cached_tokens"])

    assert cached == [0, 96, 0]
    assert hits + 96 == engine.metrics().value("vllm:prefix_cache_hits_total")


async def test_usage_can_come_with_every_chunk(http: httpx2.AsyncClient) -> None:
    """continuous_usage_stats counts up."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    got = await stream(http, chat(max_tokens=3, stream_options=options))

    assert [chunk["usage"]["completion_tokens"] for chunk in got.chunks] == [1, 1, 2, 3, 3]


async def test_echo_shows_the_prompt(http: httpx2.AsyncClient) -> None:
    """Before the first token's text."""
    body = {"prompt": "The river", "max_tokens": 2, "echo": True, "temperature": 0}
    whole = (await ask(http, body, COMPLETIONS))["choices"][0]["text"]

    assert whole.startswith("The river")
    assert whole == "".join((await stream(http, body, COMPLETIONS)).content())


async def test_logprobs_look_plausible(http: httpx2.AsyncClient) -> None:
    """An entry a token, falling with the rank, in both endpoints' forms, whole and streamed."""
    body = chat(max_tokens=4, logprobs=True, top_logprobs=3)
    content = (await ask(http, body))["choices"][0]["logprobs"]["content"]
    chunks = (await stream(http, body)).chunks
    assert len(content) == 4
    for entry in content:
        ranked = [top["logprob"] for top in entry["top_logprobs"]]
        assert ranked == sorted(ranked, reverse=True)
        assert entry["logprob"] == ranked[0] < 0
    assert content == [chunk["choices"][0]["logprobs"]["content"][0] for chunk in chunks[1:]]

    told = (await ask(http, {"prompt": "A", "max_tokens": 3, "logprobs": 2}, COMPLETIONS))["choices"][0]
    assert 3 == len(told["logprobs"]["tokens"]) == len(told["logprobs"]["token_logprobs"])
    assert told["text"] == "".join(told["logprobs"]["tokens"])


async def test_tokenize_and_detokenize(http: httpx2.AsyncClient) -> None:
    """A prompt or messages in, the ids that a request would have; and back."""
    got = (await http.post("/tokenize", json={"messages": HI})).json()
    back = (await http.post("/detokenize", json={"tokens": got["tokens"]})).json()
    asked = await ask(http, chat(max_tokens=1, return_token_ids=True))

    assert asked["prompt_token_ids"] == got["tokens"]
    assert got["count"] == len(got["tokens"]) < got["max_model_len"]
    assert back == {"prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"}


async def test_what_the_engine_says_of_itself(http: httpx2.AsyncClient, engine: Engine) -> None:
    """Health, version, models, the cache's size."""
    card = (await http.get("/v1/models")).json()["data"][0]

    assert (await http.get("/health")).status_code == 200
    assert "version" in (await http.get("/version")).json()
    assert (engine.model, "model") == (card["id"], card["object"])
    assert card["max_model_len"] > 0
    assert engine.metrics()["vllm:cache_config_info"][0].labels["block_size"] == "16"


@pytest.mark.parametrize("tool_choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=str)
async def test_a_tool_is_called_when_it_must_be(http: httpx2.AsyncClient, tool_choice: object) -> None:
    """A name, then arguments in pieces that make JSON of the schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    body = chat(tools=[tool], tool_choice=tool_choice)
    got = await stream(http, body)
    calls = [got.choice(chunk)["delta"]["tool_calls"][0] for chunk in got.chunks[1:]]
    arguments = "".join(call["function"]["arguments"] for call in calls)

    assert calls[0]["function"]["name"] == "weather"
    assert {"city", "days"} == json.loads(arguments).keys()
    assert got.finish() == "tool_calls"
    message = (await ask(http, body))["choices"][0]["message"]
    assert (None, arguments) == (message["content"], message["tool_calls"][0]["function"]["arguments"])


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {}}}}},
    ],
    ids=["object", "schema"],
)
async def test_structured_answers_are_json(http: httpx2.AsyncClient, response_format: Json) -> None:
    """And end by themselves."""
    choice = (await ask(http, chat(response_format=response_format)))["choices"][0]

    assert isinstance(json.loads(choice["message"]["content"]), dict)
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/v1/chat/completions", {}, 400, "messages: Field required"),
        ("/v1/chat/completions", chat(messages=[]), 400, "empty"),
        ("/v1/chat/completions", chat(temperature=-1), 400, "temperature"),
        ("/v1/chat/completions", chat(stop=[""]), 400, "stop"),
        ("/v1/chat/completions", chat(model="other"), 404, "The model `other` does not exist."),
        ("/v1/chat/completions", chat(max_tokens=32_768), 400, "maximum context length is 32768 tokens"),
        ("/v1/chat/completions", chat(max_tokens=5, min_tokens=6), 400, "min_tokens"),
        ("/v1/chat/completions", chat(tool_choice="required"), 400, "tools"),
        ("/v1/chat/completions", chat(emulator_faults={"explode": 1}), 400, "explode"),
        (COMPLETIONS, {"prompt": []}, 400, "prompt"),
        (COMPLETIONS, {"prompt": ""}, 400, "empty"),
        (COMPLETIONS, {"prompt": [10**6]}, 400, "out of vocabulary"),
        (COMPLETIONS, {"prompt": [1] * 32_768}, 400, "32768 input tokens"),
        ("/tokenize", {}, 400, "prompt"),
        ("/detokenize", {"tokens": [10**6]}, 400, "out of vocabulary"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
async def test_errors_are_vllms(http: httpx2.AsyncClient, path: str, body: Json, status: int, told: str) -> None:
    """OpenAI's error object, with the status as code."""
    answer = await http.post(path, json=body)
    error = answer.json()["error"]

    assert (status, status) == (answer.status_code, error["code"])
    assert told in error["message"]
    assert {"message", "type", "param", "code"} == error.keys()


async def test_a_body_that_is_not_json_is_refused(http: httpx2.AsyncClient) -> None:
    """400, and unknown fields are not."""
    assert (await http.post(COMPLETIONS, content=b"{")).status_code == 400
    assert (await ask(http, chat(max_tokens=1, priority=3, anything={"x": 1})))["choices"]
