"""Engines that die, break or fall silent: another one takes over, or the client gets a clean error."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.support.raw import CHAT, Clients, Json
from tests.support.servers import Emulators, Engine, Gateway, Gateways
from tests.support.waiting import eventually

ASK: Json = {
    "messages": [{"role": "user", "content": "Tell me about the river."}],
    "temperature": 0,
    "ignore_eos": True,
    "max_tokens": 40,
}
PATIENCE = {"first_token_timeout_s": 1.0, "stall_timeout_s": 1.0, "answer_timeout_s": 1.0, "probe_interval_s": 0.2}


@dataclass
class House:
    """Engine `first` is asked first, `second` is well; before them a gateway, and one that has `first` alone."""

    first: Engine
    second: Engine
    pair: Gateway
    alone: Gateway
    text: str


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        emulators, gateways = Emulators(stack), Gateways(stack, tmp_path_factory.mktemp("house"))
        first, second = emulators(), emulators()
        # A full engine makes its jobs wait as long as any may: here not long.
        pool = {**PATIENCE, "queue": {"timeout_s": 5.0}}
        pair, alone = (gateways(engines, pool=pool) for engines in ([first, second], [first]))
        answer = httpx2.post(f"{second.url}{CHAT}", json=ASK, trust_env=False, verify=False).json()
        yield House(first, second, pair, alone, answer["choices"][0]["message"]["content"])


@pytest.fixture
async def faults(house: House) -> AsyncIterator[httpx2.AsyncClient]:
    """Sets the faults of the first engine, and clears them."""
    async with httpx2.AsyncClient(base_url=house.first.url, trust_env=False, verify=False) as http:
        yield http
        await http.delete("/emulator/faults")


BEFORE: list[Json] = [
    {"status": 500},
    {"status": 503},
    {"status": 429},
    {"die_after_tokens": 0},
    {"error_after_tokens": 0},
    {"garbage_after_tokens": 0},
    {"stall_after_tokens": 0},
    {"slow_first_token_s": 60},
]


def named(fault: Json) -> str:
    return "-".join(f"{key}-{value}" for key, value in fault.items())


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", BEFORE, ids=named)
async def test_another_engine_takes_over(
    house: House, clients: Clients, faults: httpx2.AsyncClient, fault: Json, stream: bool
) -> None:
    """Whatever goes wrong before the first token, the client sees only the answer."""
    await faults.post("/emulator/faults", json=fault)
    request = await clients(house.pair, {**ASK, "stream": stream})
    if stream:
        sse = await request.sse()
        assert (sse.done, sse.error, sse.text) == (True, None, house.text)
    else:
        assert (await request.json())["choices"][0]["message"]["content"] == house.text

    assert request.status == 200
    await eventually(lambda: house.first.running() == 0)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_full_engine_gets_the_job_later(
    house: House, clients: Clients, faults: httpx2.AsyncClient, status: int
) -> None:
    """The only engine says that it is full: the job waits in the gateway's queue, and its client sees only a delay."""
    await faults.post("/emulator/faults", json={"status": status, "count": 1})

    sse = await (await clients(house.alone, {**ASK, "stream": True})).sse()

    assert (sse.done, sse.error, sse.text) == (True, None, house.text)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"status": 500}, 502, "engine_failed"),
        ({"status": 503}, 504, "queue_timeout"),
        ({"status": 429}, 504, "queue_timeout"),
        ({"status": 404}, 502, "engine_failed"),
        ({"status": 422}, 400, "engine_refused"),
        ({"die_after_tokens": 0}, 502, "engine_failed"),
        ({"error_after_tokens": 0}, 502, "engine_failed"),
        ({"garbage_after_tokens": 0}, 502, "engine_failed"),
        ({"slow_first_token_s": 60}, 502, "engine_failed"),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else None,
)
async def test_a_failure_that_nobody_takes_over_is_a_status(
    house: House, clients: Clients, fault: Json, status: int, code: str
) -> None:
    """Streams and whole answers alike: OpenAI's error object, and none of the engine's own words about itself."""
    bodies = [{**ASK, "stream": stream, "emulator_faults": fault} for stream in (True, False)]
    requests = [await clients(house.alone, body) for body in bodies]
    answers = await asyncio.gather(*(request.json() for request in requests))
    for request, error in zip(requests, (answer["error"] for answer in answers), strict=True):
        assert (request.status, error["code"]) == (status, code)
        assert set(error) == {"message", "type", "param", "code"}
        assert "EngineCore" not in error["message"]
        assert request.headers["x-request-id"]
    await eventually(lambda: house.first.running() == 0)


@pytest.mark.parametrize(
    "fault",
    [{"die_after_tokens": 7}, {"error_after_tokens": 7}, {"garbage_after_tokens": 7}, {"stall_after_tokens": 7}],
    ids=named,
)
async def test_a_failure_after_the_first_token_is_an_event(house: House, clients: Clients, fault: Json) -> None:
    """An answer that cannot go on: what came stays, then one error event, no [DONE]; no second engine tries."""
    body = {**ASK, "stream": True, "return_token_ids": True, "presence_penalty": 0.1, "emulator_faults": fault}
    before = house.pair.metrics().value("andante_jobs_queued_total")
    request = await clients(house.pair, body)
    sse = await request.sse()

    assert request.status == 200
    assert not sse.done
    assert sse.error is not None
    assert (sse.error["code"], len(sse.ids)) == ("engine_failed", 7)
    assert sse.text
    assert house.text.startswith(sse.text)
    await eventually(lambda: house.first.running() == house.second.running() == 0)
    assert house.pair.metrics().value("andante_jobs_queued_total") == before + 1


async def test_the_gateway_is_none_the_worse(house: House, clients: Clients) -> None:
    """After all that the books are empty and both gateways serve."""
    for served in (house.pair, house.alone):
        request = await clients(served, {**ASK, "stream": True})
        assert (await request.sse()).text == house.text
        await eventually(partial(no_jobs, served))


def no_jobs(served: Gateway) -> bool:
    metrics = served.metrics()
    ended = sum(sample.value for sample in metrics.get("andante_jobs_ended_total", []))
    assert metrics.value("andante_jobs_running") == metrics.value("andante_jobs_waiting") == 0
    return ended == metrics.value("andante_jobs_queued_total")


# ---- kill -9


HELD: dict[str, Any] = {"slow_first_token_s": 60}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_killed_engine_before_the_first_token_is_not_noticed(
    emulator: Emulators, gateway: Gateways, clients: Clients, stream: bool
) -> None:
    """Eight requests, half of them at the engine that is killed: eight good answers."""
    first, second = await asyncio.gather(*(asyncio.to_thread(emulator) for _ in range(2)))
    served = await asyncio.to_thread(gateway, [first, second])
    async with httpx2.AsyncClient(base_url=first.url, trust_env=False, verify=False) as http:
        await http.post("/emulator/faults", json=HELD)
        body = {**ASK, "max_tokens": 2500, "stream": stream}
        requests = [await clients(served, body) for _ in range(8)]
        await eventually(lambda: first.running() == 4)
    first.process.signal(signal.SIGKILL)

    for request in requests:
        if stream:
            sse = await request.sse()
            assert (sse.done, sse.error) == (True, None)
        else:
            assert (await request.json())["usage"]["completion_tokens"] == 2500
        assert request.status == 200


async def test_the_only_engine_is_killed(emulator: Emulators, gateway: Gateways, clients: Clients) -> None:
    """Before the first token 502, after it an error event, later 503; a new engine on the port is taken back."""
    engine = await asyncio.to_thread(emulator, speed=0.05)
    patience = PATIENCE | {"first_token_timeout_s": 30.0, "failover_wait_s": 0.5}
    served = await asyncio.to_thread(gateway, [engine], pool=patience)
    body = {**ASK, "stream": True, "max_tokens": 4000}
    held = await clients(served, {**body, "emulator_faults": HELD})
    whole = await clients(served, {**body, "stream": False})
    reading = await clients(served, body)
    seen = await reading.until(5)
    engine.process.signal(signal.SIGKILL)

    assert (await held.json())["error"]["code"] == (await whole.json())["error"]["code"] == "engine_failed"
    assert held.status == whole.status == 502
    last = await reading.sse()
    assert not last.done
    assert last.error is not None
    assert last.error["code"] == "engine_failed"
    assert seen.endswith(b"\n\n")
    await eventually(lambda: _refused(clients, served))
    port = int(engine.url.rpartition(":")[2])
    await asyncio.to_thread(emulator, port=port)
    await eventually(lambda: _served(clients, served), timeout=10.0)


async def _refused(clients: Clients, served: Gateway) -> bool:
    request = await clients(served, ASK)
    return bool((await request.json()).get("error", {}).get("code") == "no_engine_ready" and request.status == 503)


async def _served(clients: Clients, served: Gateway) -> bool:
    request = await clients(served, ASK)
    return "choices" in await request.json()
