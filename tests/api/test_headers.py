"""Headers in and out: request ids, CORS, limits."""

import re
from collections.abc import Callable

import httpx2
import pytest

from gateway.core.limits import Limits
from gateway.stores.base import NewKey
from tests.api.asking import CHAT, chat, error_of
from tests.api.conftest import ORIGIN
from tests.support.servers import MODEL

ClientOf = Callable[[NewKey], httpx2.AsyncClient]
DURATION = re.compile(r"\d+(\.\d+)?(ms|s)|\d+m\d+(\.\d+)?s")


def limited(**limits: int) -> NewKey:
    return NewKey(name="limited", limits=Limits(**limits))


# ---- x-request-id


@pytest.mark.parametrize("given", ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "trace:1_2.3", "x" * 128])
async def test_a_request_s_id_comes_back(client: httpx2.AsyncClient, given: str) -> None:
    """On answers and refusals of every kind, and in the body's own id for nobody."""
    for method, path in (("GET", "/healthz"), ("GET", "/nope"), ("PUT", CHAT), ("POST", CHAT), ("GET", "/v1/models")):
        response = await client.request(method, path, headers={"x-request-id": given})
        assert response.headers["x-request-id"] == given, (method, path)


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'a"b', "é".encode(), "a\tb"])
async def test_a_bad_id_is_replaced(client: httpx2.AsyncClient, given: str | bytes) -> None:
    """What could break out of a log line or a page is not repeated."""
    headers = {b"x-request-id": given if isinstance(given, bytes) else given.encode()}
    response = await client.get("/healthz", headers=headers)

    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_request_gets_an_id_of_its_own(client: httpx2.AsyncClient) -> None:
    """Streams too."""
    first = await client.post(CHAT, json=chat())
    second = await client.post(CHAT, json=chat(stream=True))

    assert first.headers["x-request-id"] != second.headers["x-request-id"]


# ---- CORS


async def test_a_configured_origin_may_ask(client: httpx2.AsyncClient) -> None:
    """The preflight of what the SDKs in a browser send."""
    wanted = "authorization, content-type, x-stainless-arch, x-request-id, x-stream-resumable, last-event-id"
    asked = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    response = await client.options(CHAT, headers=asked)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in response.headers["access-control-allow-methods"]
    allowed = {name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")}
    assert {name.strip() for name in wanted.split(",")} <= allowed


@pytest.mark.parametrize("stream", [False, True])
async def test_a_page_may_read_what_it_needs(client: httpx2.AsyncClient, stream: bool) -> None:
    """On answers and on refusals."""
    for body in (chat(stream=stream), chat(model="no-such-model")):
        response = await client.post(CHAT, json=body, headers={"origin": ORIGIN})
        exposed = {name.strip().lower() for name in response.headers["access-control-expose-headers"].split(",")}

        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert {"x-request-id", "retry-after", "retry-after-ms", "x-should-retry", "x-queue-ms"} <= exposed
        assert {"x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"} <= exposed


async def test_another_origin_may_not(client: httpx2.AsyncClient) -> None:
    """Its preflight is refused, and its answers cannot be read."""
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}

    assert (await client.options(CHAT, headers=asked)).status_code == 400
    response = await client.post(CHAT, json=chat(), headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in response.headers


# ---- limits


@pytest.mark.parametrize("stream", [False, True])
async def test_a_limited_key_sees_what_is_left(client_of: ClientOf, stream: bool) -> None:
    """Requests and tokens, each with its limit and when it is whole again; nothing for what is not limited."""
    client = client_of(limited(requests_per_minute=60, tokens_per_minute=6000))
    headers = (await client.post(CHAT, json=chat(stream=stream))).headers
    unlimited = (await client_of(NewKey(name="free")).post(CHAT, json=chat(stream=stream))).headers

    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("60", "59")
    assert headers["x-ratelimit-limit-tokens"] == "6000"
    assert 5900 <= int(headers["x-ratelimit-remaining-tokens"]) < 6000
    assert DURATION.fullmatch(headers["x-ratelimit-reset-requests"])
    assert DURATION.fullmatch(headers["x-ratelimit-reset-tokens"])
    assert not [name for name in unlimited if name.startswith("x-ratelimit")]


async def test_a_refused_request_says_when_to_come_back(client_of: ClientOf) -> None:
    """429 with the exact wait in both spellings, and where the key stands."""
    client = client_of(limited(requests_per_minute=1))
    assert (await client.post(CHAT, json=chat())).status_code == 200

    response = await client.post(CHAT, json=chat())
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert 50 <= int(response.headers["retry-after"]) <= 60
    assert 50_000 <= int(response.headers["retry-after-ms"]) <= 60_000
    assert response.headers["x-ratelimit-limit-requests"] == "1"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert DURATION.fullmatch(response.headers["x-ratelimit-reset-requests"])
    assert "x-should-retry" not in response.headers


async def test_what_can_never_be_is_not_to_be_tried_again(client_of: ClientOf) -> None:
    """A request larger than the limit itself: no time to come back at, and the SDKs are told."""
    client = client_of(limited(tokens_per_minute=100))
    response = await client.post(CHAT, json=chat(max_tokens=500))

    assert (response.status_code, error_of(response)["code"]) == (429, "rate_limit_exceeded")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    assert (await client.post(CHAT, json=chat())).status_code == 200


async def test_a_refused_request_costs_nothing(client_of: ClientOf) -> None:
    """Whatever refuses it before it is admitted."""
    client = client_of(limited(requests_per_minute=1, tokens_per_minute=1000))
    for body in (chat(messages=[]), chat(model="no-such-model"), chat(max_tokens=900_000), chat(max_tokens=999)):
        assert (await client.post(CHAT, json=body)).status_code in {400, 404, 429}

    assert (await client.post(CHAT, json=chat())).status_code == 200


# ---- models


async def test_a_key_sees_the_models_that_it_may_use(client: httpx2.AsyncClient, client_of: ClientOf) -> None:
    """In the list and one by one; what it may not use is not there."""
    other = client_of(NewKey(name="other", models=("another",)))

    listed = (await client.get("/v1/models")).json()
    assert [card["id"] for card in listed["data"]] == [MODEL]
    assert (await client.get(f"/v1/models/{MODEL}")).json() == listed["data"][0]
    assert (await other.get("/v1/models")).json() == {"object": "list", "data": []}
    for path in (f"/v1/models/{MODEL}", "/v1/models/another", "/v1/models/"):
        response = await other.get(path)
        assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
