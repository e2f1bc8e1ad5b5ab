"""Two hundred readers at two engines: nothing lost, nothing twice, no queue at an engine, who leaves is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.support.raw import CHAT, Clients, Gauges, Raw, Sse
from tests.support.servers import Emulators, Engine, Gateway, Gateways
from tests.support.waiting import eventually

STREAMS = 200
LEAVERS = 50
SEEN_BEFORE_LEAVING = 12
GONE_S = 1.0

Json = dict[str, Any]


def request(number: int, *, leaves: bool = False) -> Json:
    """Every stream asks for something else and for another length; `leaves`: longer than anybody will read."""
    return {
        "messages": [{"role": "user", "content": f"Tell me about the river number {number}."}],
        "temperature": 0,
        "ignore_eos": True,
        "max_tokens": 300 if leaves else 60 + number % 30,
        "return_token_ids": True,
    }


@dataclass
class House:
    """Two engines as slow as large models, the gateway before them, and a fast engine that says what is right."""

    engines: list[Engine]
    gauges: list[Gauges]
    gateway: Gateway
    oracle: Engine

    async def total(self, name: str) -> float:
        """A sample, summed over the engines."""
        return sum([await gauges.value(name) for gauges in self.gauges])


@pytest.fixture
async def house(emulator: Emulators, gateway: Gateways) -> AsyncIterator[House]:
    engines = [await asyncio.to_thread(emulator, profile="a100x4-66b", speed=2.0) for _ in range(2)]
    oracle = await asyncio.to_thread(emulator)
    served = await asyncio.to_thread(gateway, engines)
    gauges = [Gauges(engine) for engine in engines]
    yield House(engines, gauges, served, oracle)
    for each in gauges:
        await each.close()


async def open_streams(house: House, clients: Clients, numbers: range, *, leave: bool = False) -> list[Raw]:
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    bodies = [{**request(number, leaves=leave), **streamed} for number in numbers]
    return await asyncio.gather(*(clients(house.gateway, body) for body in bodies))


async def leave_together(house: House, leavers: list[Raw]) -> list[float]:
    """Close all of them at once; after how many seconds the first, second, ... generation had stopped."""
    await asyncio.gather(*(stream.until(SEEN_BEFORE_LEAVING) for stream in leavers))
    running = await house.total("vllm:num_requests_running")
    assert running == STREAMS
    left = time.monotonic()
    for stream in leavers:
        stream.vanish()
    gone: list[float] = []

    async def all_gone() -> bool:
        now_running = await house.total("vllm:num_requests_running")
        gone.extend([time.monotonic() - left] * (int(running - now_running) - len(gone)))
        return len(gone) == LEAVERS

    await eventually(all_gone, timeout=5.0, what="the leavers' generations to end")
    return gone


async def told_directly(house: House, numbers: range) -> list[Json]:
    """What an engine answers who asks it without a gateway, in one piece."""
    limits = httpx2.Limits(max_connections=20)
    async with httpx2.AsyncClient(base_url=house.oracle.url, timeout=30.0, trust_env=False, limits=limits) as http:
        answers = await asyncio.gather(*(http.post(CHAT, json=request(number)) for number in numbers))
    return [answer.json() for answer in answers]


def check(sse: Sse, direct: Json) -> None:
    """The stream is the direct answer: token for token, in order, with its end and its counts."""
    (choice,) = direct["choices"]
    assert sse.error is None
    assert sse.done
    assert sse.ids == choice["token_ids"]
    assert sse.text == choice["message"]["content"]
    assert [each["finish_reason"] for each in sse.choices if each["finish_reason"]] == ["length"]
    assert sse.usage is not None
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert sse.usage[count] == direct["usage"][count]
    assert len(sse.ids) == direct["usage"]["completion_tokens"]


async def test_two_hundred_streams(house: House, clients: Clients) -> None:
    """150 stay and get exactly what the engine says; 50 leave mid-way and cost nothing a second later."""
    staying = range(STREAMS - LEAVERS)
    stayers = await open_streams(house, clients, staying)
    leavers = await open_streams(house, clients, range(LEAVERS), leave=True)
    bodies = asyncio.gather(*(stream.sse() for stream in stayers))

    gone = await leave_together(house, leavers)
    print(f"generations gone after p50 {gone[LEAVERS // 2] * 1000:.0f} ms, max {gone[-1] * 1000:.0f} ms")
    assert gone[-1] < GONE_S

    for sse, direct in zip(await bodies, await told_directly(house, staying), strict=True):
        check(sse, direct)
    assert await house.total("emulator:aborted_requests_total") == LEAVERS
    assert await house.total("vllm:num_requests_running") == 0
    assert await house.total("emulator:max_waiting") == 0, "a request waited in an engine's own queue"
    await eventually(lambda: check_the_books(house), timeout=5.0)


def check_the_books(house: House) -> bool:
    """The gateway has counted everybody once and has nobody left."""
    metrics = house.gateway.metrics()
    assert metrics.value("andante_jobs_ended_total", outcome="completed") == STREAMS - LEAVERS
    assert metrics.value("andante_jobs_ended_total", outcome="cancelled") == LEAVERS
    assert metrics.value("andante_jobs_running") == metrics.value("andante_jobs_waiting") == 0
    produced = sum(60 + number % 30 for number in range(STREAMS - LEAVERS))
    tokens = metrics.value("andante_tokens_produced_total")
    assert produced + LEAVERS * SEEN_BEFORE_LEAVING <= tokens <= produced + LEAVERS * 100
    return True
