"""Every refusal is OpenAI's error object with the right status, wherever it arises."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from gateway.stores.base import NewKey
from tests.api.asking import CHAT, COMPLETIONS, chat, error_of
from tests.api.conftest import BODY_BYTES, CONTEXT, MESSAGES, House
from tests.support.servers import MODEL

JSON = {"content-type": "application/json"}

BAD_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    (CHAT, {"messages": [{"role": "user", "content": "x"}]}, "model"),
    (CHAT, {"model": MODEL}, "messages"),
    (CHAT, chat(messages=[]), "messages"),
    (CHAT, chat(messages="hello"), "messages"),
    (CHAT, chat(messages=[{"content": "x"}]), "messages[0].role"),
    (CHAT, chat(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
    (CHAT, chat(messages=[{"role": "user", "content": [{"text": "x"}]}]), "messages[0].content[0].type"),
    (CHAT, chat(max_tokens=0), "max_tokens"),
    (CHAT, chat(max_tokens="8"), "max_tokens"),
    (CHAT, chat(max_tokens=True), "max_tokens"),
    (CHAT, chat(max_completion_tokens=1.5), "max_completion_tokens"),
    (CHAT, chat(n=129), "n"),
    (CHAT, chat(temperature=2.1), "temperature"),
    (CHAT, chat(stream="yes"), "stream"),
    (CHAT, chat(stream_options={"include_usage": 1}), "stream_options.include_usage"),
    (CHAT, chat(stop=[1]), "stop[0]"),
    (CHAT, chat(pace="fast"), "pace"),
    (CHAT, chat(pace={"rate": 0}), "pace.rate"),
    (CHAT, chat(pace={"kind": "reading", "language": "xx"}), "pace.language"),
    (CHAT, chat(pace={"kind": "machine", "rate": 5}), "pace.rate"),
    (COMPLETIONS, {"model": MODEL}, "prompt"),
    (COMPLETIONS, {"model": MODEL, "prompt": []}, "prompt"),
    (COMPLETIONS, {"model": MODEL, "prompt": [1, -1]}, "prompt[1]"),
    (COMPLETIONS, {"model": MODEL, "prompt": [[1], [2.5]]}, "prompt[1][0]"),
]

BAD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"model": NaN}',
    b'{"temperature": Infinity}',
    b'{"temperature": 1e999}',
    b'{"model": "\xff"}',
    b'{"model": "\\ud800"}',
    b'{"\\udc00": 1}',
    b'{"model": "\\u0000"}',
    b'{"max_tokens": ' + b"9" * 5000 + b"}",
    b'{"tools": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    b'{"tools": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    b"\x00",
    b"\xef\xbb\xbf{}",
]


@pytest.mark.parametrize(
    ("path", "body", "param"), BAD_FIELDS, ids=[f"{param}-{n}" for n, (_, _, param) in enumerate(BAD_FIELDS)]
)
async def test_a_bad_field_is_named(client: httpx2.AsyncClient, path: str, body: dict[str, Any], param: str) -> None:
    """400, never 422, and `param` is where it is."""
    response = await client.post(path, json=body)
    error = error_of(response)

    assert (response.status_code, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
    assert error["param"] == param
    assert param in error["message"]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_what_is_no_json_object_is_400(client: httpx2.AsyncClient, path: str, body: bytes) -> None:
    """Whatever the bytes."""
    response = await client.post(path, content=body, headers=JSON)

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_json_must_be_called_json(client: httpx2.AsyncClient, kind: str) -> None:
    """A page of another origin can send these without asking first."""
    response = await client.post(CHAT, content=b"{}", headers={"content-type": kind})

    assert (response.status_code, "application/json" in error_of(response)["message"]) == (400, True)


@pytest.mark.parametrize("body", [b"{", b"{}", b""])
@pytest.mark.parametrize("headers", [{"authorization": "Bearer sk-nobody"}, {"x-api-key": "nobody"}, {}])
async def test_who_is_unknown_is_told_nothing_of_the_body(house: House, headers: dict[str, str], body: bytes) -> None:
    """401 comes before 400; the answer says how to sign in and repeats nothing."""
    async with httpx2.AsyncClient(base_url=house.gateway.url, trust_env=False) as stranger:
        response = await stranger.post(CHAT, content=body, headers={**JSON, **headers})

    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert "nobody" not in response.text


async def test_a_model_that_is_not_the_key_s(client_of: Callable[[NewKey], httpx2.AsyncClient]) -> None:
    """403, whether the model exists or not."""
    client = client_of(NewKey(name="other", models=("another",)))
    for model in (MODEL, "no-such-model"):
        response = await client.post(CHAT, json=chat(model=model))
        assert (response.status_code, error_of(response)["code"]) == (403, "model_not_allowed")
        assert error_of(response)["param"] == "model"


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_model_that_is_not_there(client: httpx2.AsyncClient, path: str) -> None:
    """404 that names the field."""
    response = await client.post(path, json=chat(model="no-such-model", prompt="x"))
    error = error_of(response)

    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/chat", "/v1/chat/completions/", "/healthz/", "/admin/keys", "/%00"]
)
async def test_an_unknown_route(client: httpx2.AsyncClient, path: str) -> None:
    """404 and no redirect, also for what is off by a slash."""
    response = await client.post(path, json={})

    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("PUT", COMPLETIONS, "POST"), ("POST", "/v1/models", "GET"), ("DELETE", "/metrics", "GET")],
)
async def test_a_method_that_is_not_there(client: httpx2.AsyncClient, method: str, path: str, allowed: str) -> None:
    """405 with the methods that are."""
    response = await client.request(method, path)

    assert (response.status_code, error_of(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed


async def test_a_body_that_is_too_large(client: httpx2.AsyncClient) -> None:
    """413, announced or not; the connection is not used again."""
    body = b'{"model": "' + b"x" * BODY_BYTES + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 4096):
            yield body[start : start + 4096]

    for content in (body, pieces()):
        response = await client.post(CHAT, content=content, headers=JSON)
        assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")
        assert response.headers["connection"] == "close"


async def test_too_many_messages(client: httpx2.AsyncClient) -> None:
    """As many as configured are taken, one more is not."""
    message = {"role": "user", "content": "x"}
    assert (await client.post(CHAT, json=chat(messages=[message] * MESSAGES))).status_code == 200

    response = await client.post(CHAT, json=chat(messages=[message] * (MESSAGES + 1)))
    assert (response.status_code, error_of(response)["param"]) == (400, "messages")


@pytest.mark.parametrize("fields", [{"max_tokens": CONTEXT}, {"max_tokens": None, "max_completion_tokens": CONTEXT}])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_does_not_fit(client: httpx2.AsyncClient, fields: dict[str, Any], stream: bool) -> None:
    """A status even for a stream: nothing has been sent yet."""
    response = await client.post(CHAT, json=chat(stream=stream, **fields))

    assert (response.status_code, error_of(response)["code"]) == (400, "context_length_exceeded")
    assert str(CONTEXT) in error_of(response)["message"]


@pytest.mark.parametrize(
    ("path", "prompt", "param"),
    [
        (CHAT, {"messages": [{"role": "user", "content": "the river " * 4000}]}, "messages"),
        (COMPLETIONS, {"prompt": "the river " * 4000}, "prompt"),
    ],
)
async def test_a_prompt_that_does_not_fit(
    client: httpx2.AsyncClient, path: str, prompt: dict[str, Any], param: str
) -> None:
    """Counted by the engine, refused by the gateway."""
    response = await client.post(path, json={"model": MODEL, **prompt})
    error = error_of(response)

    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", param)


@pytest.mark.parametrize("prompt", [[5] * CONTEXT, [[5], [5] * CONTEXT]])
async def test_token_ids_that_do_not_fit(client: httpx2.AsyncClient, prompt: list[Any]) -> None:
    """They need no tokenizer to be counted."""
    response = await client.post(COMPLETIONS, json={"model": MODEL, "prompt": prompt, "max_tokens": 1})
    error = error_of(response)

    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")
    assert f"{CONTEXT} in the prompt" in error["message"]


@pytest.mark.parametrize(
    "prompt", [[[5] * (CONTEXT - 1)] * 2, [5] * (CONTEXT - 1), ["the river " * (CONTEXT // 9)] * 2]
)
async def test_every_prompt_has_the_context_to_itself(client: httpx2.AsyncClient, prompt: list[Any]) -> None:
    """Several may be longer than it together."""
    response = await client.post(COMPLETIONS, json={"model": MODEL, "prompt": prompt, "max_tokens": 1})

    assert response.status_code == 200, response.text


async def test_what_the_engine_refuses(client: httpx2.AsyncClient) -> None:
    """400 in the engine's own words."""
    response = await client.post(CHAT, json=chat(stop=""))
    error = error_of(response)

    assert (response.status_code, error["code"], error["param"]) == (400, "engine_refused", "stop")
    assert "empty" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_engine_that_fails_at_once(client: httpx2.AsyncClient, stream: bool) -> None:
    """502 in the gateway's words while a status can still be sent."""
    response = await client.post(CHAT, json=chat(stream=stream, emulator_faults={"die_after_tokens": 0}))

    assert (response.status_code, error_of(response)["code"]) == (502, "engine_failed")


async def test_null_is_absent(client: httpx2.AsyncClient) -> None:
    """As the clients of OpenAI send what they leave to the server."""
    names = ("stream", "stream_options", "n", "temperature", "top_p", "stop", "pace", "max_completion_tokens")
    response = await client.post(CHAT, json=chat(**dict.fromkeys(names)))

    assert response.status_code == 200, response.text


async def test_whole_numbers_may_be_written_with_a_point(client: httpx2.AsyncClient) -> None:
    """JSON has one kind of number."""
    body = {"model": MODEL, "prompt": [[1.0, 2.0], [3]], "n": 2.0, "max_tokens": 4.0}
    answer = (await client.post(COMPLETIONS, json=body)).json()

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["completion_tokens"] <= 16


async def test_unreadable_http_gets_the_same_object(house: House) -> None:
    """Refused by the parser, before any route; the connection ends."""
    url = urlsplit(house.gateway.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nbad: \x00\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()

    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_http"


async def test_the_description_announces_what_is_sent(client: httpx2.AsyncClient) -> None:
    """Never 422; streams by their content type; both ways to sign in."""
    description = (await client.get("/openapi.json")).json()
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    call = description["paths"][CHAT]["post"]

    assert all("422" not in operation["responses"] for operation in operations)
    assert set(call["responses"]) == {"200", "400", "401", "403", "404", "413", "429", "502", "503", "504"}
    assert set(call["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert call["security"] == [{"ApiKey": []}, {"ApiKeyHeader": []}]
    assert call["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/ChatCompletionRequest")
    assert "HTTPValidationError" not in description["components"]["schemas"]
