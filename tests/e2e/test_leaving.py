"""Clients that leave are noticed from the first byte of their request on, and their generation is aborted."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.raw import Clients, Gauges, Json, Raw
from tests.support.servers import Emulators, Engine, Gateway, Gateways
from tests.support.waiting import eventually

GONE_S = 1.0
LONG: Json = {
    "messages": [{"role": "user", "content": "Tell me about the river."}],
    "temperature": 0,
    "ignore_eos": True,
    "max_tokens": 3000,
}
HELD: Json = {"emulator_faults": {"slow_first_token_s": 60}}
LARGE: Json = {"metadata": {"note": "x" * 300_000}}
"""More than the server reads in one piece; no part of the prompt."""


@dataclass
class House:
    """An engine of 50 tokens a second with room for one LONG request, and a gateway before it."""

    engine: Engine
    gateway: Gateway


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        engine = Emulators(stack)("--kv-tokens", "4096", speed=0.05)
        gateways = Gateways(stack, tmp_path_factory.mktemp("house"))
        # First come, first served: what waits must not take the place of what runs.
        pool = {"assumed_output_tokens": 4096, "policy": "fcfs"}
        served = gateways([engine], pool=pool, server={"head_timeout_s": 0.1})
        yield House(engine, served)


@pytest.fixture
async def running(house: House) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """How many requests the engine works on."""
    gauges = Gauges(house.engine)
    yield lambda: gauges.value("vllm:num_requests_running")
    await gauges.close()


@pytest.fixture
async def cancelled(house: House) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """How many jobs the gateway has ended because their client left."""
    gauges = Gauges(house.gateway)
    yield lambda: gauges.value('andante_jobs_ended_total{model="andante-emulated",outcome="cancelled"}')
    await gauges.close()


async def leave(request: Raw, way: str) -> None:
    """Close, reset, or only say that nothing more will be sent, which ends a request too, as it does at vLLM."""
    if way == "close":
        request.writer.close()
    elif way == "reset":
        request.vanish()
    else:
        await request.half_close()


async def took(condition: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until it holds."""
    begun = time.monotonic()
    await eventually(condition, timeout=5.0, interval=0.005)
    return time.monotonic() - begun


@pytest.mark.parametrize("way", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", ["prefill", "large-prefill", "decode"])
async def test_leaving_ends_the_generation(
    house: House,
    clients: Clients,
    running: Callable[[], Awaitable[float]],
    stage: str,
    stream: bool,
    way: str,
) -> None:
    """Before the first token, after it, or while a whole answer is made."""
    extra = {"prefill": HELD, "large-prefill": HELD | LARGE, "decode": {}}[stage]
    request = await clients(house.gateway, {**LONG, "stream": stream, **extra})
    if stage == "decode" and stream:
        await request.until(3)
    await eventually(lambda: _is(running, 1))
    await leave(request, way)
    seconds = await took(lambda: _is(running, 0))

    print(f"{stage}, {'stream' if stream else 'whole'}, {way}: {seconds * 1000:.0f} ms")
    assert seconds < GONE_S


@pytest.mark.parametrize("way", ["close", "reset", "half-close"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_leaving_the_queue(
    house: House,
    clients: Clients,
    running: Callable[[], Awaitable[float]],
    cancelled: Callable[[], Awaitable[float]],
    large: bool,
    stream: bool,
    way: str,
) -> None:
    """The job leaves the queue and never reaches the engine; who is served is not disturbed."""
    served = await clients(house.gateway, {**LONG, "stream": True})
    await served.until(1)
    before, generated = await cancelled(), house.engine.metrics().value("vllm:prompt_tokens_total")
    request = await clients(house.gateway, {**LONG, "stream": stream, **(LARGE if large else {})})
    await eventually(lambda: _waits(house, 1), timeout=5.0)
    await leave(request, way)
    seconds = await took(lambda: _is(cancelled, before + 1))

    print(f"queue, {'stream' if stream else 'whole'}, {way}: {seconds * 1000:.0f} ms")
    assert seconds < GONE_S
    await served.until(3)
    assert house.engine.metrics().value("vllm:prompt_tokens_total") == generated
    served.vanish()
    await eventually(lambda: _is(running, 0))


async def test_a_stream_of_another_client_is_not_cut(house: House, clients: Clients) -> None:
    """After all that, a short request is served to its end."""
    request = await clients(house.gateway, {**LONG, "max_tokens": 20, "stream": True})
    sse = await request.sse()

    assert (sse.done, sse.error) == (True, None)


async def _is(value: Callable[[], Awaitable[float]], expected: float) -> bool:
    return await value() == expected


def _waits(house: House, count: int) -> bool:
    # There is no such series before the gateway has looked at its pools for the first time.
    return sum(sample.value for sample in house.gateway.metrics().matching("andante_jobs_waiting")) == count
