"""The life of keys, as their owner lives it: the command line in one process, the gateway running in another."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.processes import ROOT, python
from tests.support.servers import MODEL, Emulators, Gateway, Gateways
from tests.support.waiting import eventually

ADMIN = "an-admin-key-that-is-long"
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "The river"}], "max_tokens": 8}
STALLED = {**BODY, "stream": True, "emulator_faults": {"stall_after_tokens": 2}}


@dataclass(frozen=True)
class House:
    """A running gateway and the command line beside it."""

    gateway: Gateway

    @property
    def database(self) -> Path:
        return self.gateway.config.with_name("andante.db")

    def keys(self, *arguments: str) -> Any:
        """`andante keys ...` on the gateway's store: its JSON."""
        command = python("gateway", "keys", *arguments, "--json", "--db", str(self.database))
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
        return json.loads(run.stdout)

    def issue(self, *limits: str) -> tuple[str, str]:
        """A new key's id and secret."""
        made = self.keys("create", "--name", "mine", *limits)
        return made["id"], made["secret"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        engine = Emulators(stack)()
        gateways = Gateways(stack, tmp_path_factory.mktemp("keys"))
        environment = {"ANDANTE_AUTH__ADMIN_KEY": ADMIN}
        yield House(gateways([engine], server={"log_level": "debug"}, env=environment))


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """Signed in as nobody: each request brings its key."""
    async with httpx2.AsyncClient(base_url=house.gateway.url, timeout=30.0, trust_env=False) as client:
        yield client


async def status(client: httpx2.AsyncClient, secret: str) -> int:
    """What the key gets for a look at the models."""
    return (await client.get("/v1/models", headers=signed(secret))).status_code


async def ask(client: httpx2.AsyncClient, secret: str, **fields: Any) -> httpx2.Response:
    """One short chat."""
    return await client.post(CHAT, json={**BODY, **fields}, headers=signed(secret))


def signed(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def code_of(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_a_key_is_good_as_soon_as_it_is_made(house: House, client: httpx2.AsyncClient) -> None:
    """In either header, at a gateway that was running before."""
    _, secret = house.issue("--tenant", "lab", "--model", MODEL)

    assert (await ask(client, secret)).status_code == 200
    assert (await client.post(CHAT, json=BODY, headers={"x-api-key": secret})).status_code == 200
    assert code_of(await ask(client, secret[:-1] + ("A" if secret[-1] != "A" else "B"))) == (401, "invalid_api_key")


async def test_requests_a_minute(house: House, client: httpx2.AsyncClient) -> None:
    """The third of two is refused, with the wait for one more; another key is not touched."""
    _, secret = house.issue("--rpm", "2")
    _, other = house.issue("--rpm", "2")
    answers = [await ask(client, secret) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"2"}
    assert code_of(answers[2]) == (429, "rate_limit_exceeded")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    wait_ms = int(answers[2].headers["retry-after-ms"])
    assert 0 < wait_ms <= 30_000
    assert (await ask(client, other)).status_code == 200


async def test_requests_a_minute_all_at_once(house: House, client: httpx2.AsyncClient) -> None:
    """Exactly as many as allowed get through."""
    _, secret = house.issue("--rpm", "5")
    answers = await asyncio.gather(*(ask(client, secret) for _ in range(20)))

    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 15}


async def test_tokens_a_minute(house: House, client: httpx2.AsyncClient) -> None:
    """Reserved with the answer's limit, settled with what was used: a short answer gives the rest back."""
    _, secret = house.issue("--tpm", "300")
    first = await ask(client, secret, max_tokens=200, min_tokens=150)
    used = first.json()["usage"]["total_tokens"]

    reserved = 300 - int(first.headers["x-ratelimit-remaining-tokens"])
    assert reserved >= 200
    state = (await ask(client, secret, max_tokens=1)).headers
    assert int(state["x-ratelimit-remaining-tokens"]) >= 300 - used - 30
    refused = await ask(client, secret, max_tokens=280)
    assert code_of(refused) == (429, "rate_limit_exceeded")
    assert "tokens per minute" in refused.json()["error"]["message"]
    never = await ask(client, secret, max_tokens=301)
    assert (never.status_code, never.headers["x-should-retry"]) == (429, "false")


async def test_concurrent_streams(house: House, client: httpx2.AsyncClient) -> None:
    """As many as allowed stay open, one more is refused, and one that is left makes room at once."""
    _, secret = house.issue("--streams", "2")
    async with AsyncExitStack() as stack:
        for _ in range(2):
            stream = client.stream("POST", CHAT, json=STALLED, headers=signed(secret))
            assert (await stack.enter_async_context(stream)).status_code == 200
        refused = await ask(client, secret)
        assert code_of(refused) == (429, "concurrent_streams_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        assert int(refused.headers["retry-after-ms"]) >= 1

    async def taken() -> bool:
        return (await ask(client, secret)).status_code == 200

    await eventually(taken, what="room for one more stream")


async def test_rotation(house: House, client: httpx2.AsyncClient) -> None:
    """The old secret ends at once, or after its grace; the one before it ends in any case."""
    key_id, first = house.issue()
    second = house.keys("rotate", key_id)["secret"]
    assert [await status(client, secret) for secret in (first, second)] == [401, 200]

    third = house.keys("rotate", key_id, "--grace", "10m")["secret"]
    assert [await status(client, secret) for secret in (first, second, third)] == [401, 200, 200]

    fourth = house.keys("rotate", key_id, "--grace", "1s")["secret"]
    assert [await status(client, secret) for secret in (second, fourth)] == [401, 200]

    async def over() -> bool:
        return await status(client, third) == 401

    await eventually(over, what="the end of the grace")
    assert await status(client, fourth) == 200


async def test_a_revoked_key_ends_at_once(house: House, client: httpx2.AsyncClient) -> None:
    """Whether the command line revokes it or the administrator does over HTTP; also when it was just used."""
    by_command, first = house.issue()
    by_http, second = house.issue()
    assert [await status(client, secret) for secret in (first, second)] == [200, 200]

    house.keys("revoke", by_command)
    assert await status(client, first) == 401
    assert code_of(await ask(client, first)) == (401, "invalid_api_key")

    revoked = await client.post(f"/admin/keys/{by_http}/revoke", headers=signed(ADMIN))
    assert revoked.status_code == 200
    assert await status(client, second) == 401
    assert house.keys("show", by_http)["revoked_at"] == revoked.json()["revoked_at"]


async def test_a_key_expires(house: House, client: httpx2.AsyncClient) -> None:
    """By itself, with the answer that a wrong key gets."""
    _, secret = house.issue("--expires", "3s")
    assert await status(client, secret) == 200

    async def over() -> bool:
        return await status(client, secret) == 401

    await eventually(over, 10.0, what="the key's end")
    assert code_of(await ask(client, secret)) == (401, "invalid_api_key")


async def test_api_keys_and_the_admin_key_are_different_things(house: House, client: httpx2.AsyncClient) -> None:
    """Neither opens what the other opens."""
    assert (await client.get("/admin/keys", headers=signed(house.gateway.key))).status_code == 401
    assert await status(client, ADMIN) == 401


async def test_nothing_secret_is_kept_or_said(house: House, client: httpx2.AsyncClient) -> None:
    """Not in the log, down to debug; not in the database or its journal; not in the metrics."""
    key_id, first = house.issue("--streams", "1")
    made = await client.post("/admin/keys", json={"name": "theirs"}, headers=signed(ADMIN))
    second = house.keys("rotate", key_id, "--grace", "1h")["secret"]
    secrets = [first, second, made.json()["secret"], "sk-000000000000-nobody-has-this-one"]
    for secret in secrets:
        await ask(client, secret)
        await ask(client, secret, messages=[])
        await ask(client, secret, stream=True, presence_penalty=0.1, emulator_faults={"die_after_tokens": 2})
    await client.get("/admin/keys", headers=signed(ADMIN))
    metrics = (await client.get("/metrics")).text

    async def logged() -> bool:
        return house.gateway.process.output().count('"job_ended"') >= 6

    await eventually(logged, what="the log lines")
    kept = [path.read_bytes() for path in house.database.parent.glob("andante.db*")]
    said = [house.gateway.process.output().encode(), metrics.encode()]
    assert len(kept) >= 2, "the journal is there while the gateway runs"
    for secret in (*secrets, ADMIN):
        hidden = secret.split("-", 2)[2].encode()  # sk-<id>- is public
        assert not [part for part in (*kept, *said) if hidden in part]
    assert key_id.encode() in kept[0] + kept[1]
