"""Engines that are killed, frozen or told to end under running streams: every stream ends complete and exact."""

import asyncio
import os
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import httpx2
import pytest

from tests.support.raw import CHAT, Clients, Json, Raw, Sse
from tests.support.servers import Emulators, Engine, Gateway, Gateways

STREAMS = int(os.environ.get("TEST_FAILOVER_STREAMS", "24"))
ROUNDS = int(os.environ.get("TEST_FAILOVER_ROUNDS", "1"))
TOKENS = 50 + 100 * ROUNDS
DETECTION_S = 2.0
POOL = {
    "first_token_timeout_s": DETECTION_S,
    "stall_timeout_s": DETECTION_S,
    "probe_interval_s": 0.5,
    "attempts": 5,
}


def ask(number: int) -> Json:
    """Prompts that differ, and characters of several bytes."""
    content = f"Tell me number {number} about the river 川 and 👩‍👩‍👧‍👦."
    options: Json = {"temperature": 0, "ignore_eos": True, "max_tokens": TOKENS, "return_token_ids": True}
    return {"messages": [{"role": "user", "content": content}], **options}


@dataclass
class House:
    """Three engines on ports of their own, which come back after a while, and a gateway before them."""

    stack: ExitStack
    engines: list[Engine]
    gateway: Gateway
    started: list[ExitStack] = field(default_factory=list)

    def strike(self, index: int, number: signal.Signals) -> None:
        self.engines[index].process.signal(number)

    def restart(self, index: int) -> None:
        """A new process on the old one's port, as its supervisor would make it."""
        self.engines[index].process.kill()
        port = int(self.engines[index].url.rpartition(":")[2])
        self.engines[index] = Emulators(self.stack)(*ENGINE_FLAGS, profile="fast", speed=0.02, port=port)


ENGINE_FLAGS = ("--shutdown-s", "60")


def house(stack: ExitStack, gateways: Gateways) -> House:
    engines = [Emulators(stack)(*ENGINE_FLAGS, profile="fast", speed=0.02) for _ in range(3)]
    return House(stack, engines, gateways(engines, pool=POOL))


async def follow(request: Raw) -> tuple[Sse, float]:
    """The whole stream and its longest silence (s)."""
    assert await request.head() == 200
    body, longest, last = [], 0.0, time.monotonic()
    async for chunk in request.chunks():
        body.append(chunk)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    await request.leave()
    return Sse.read(b"".join(body)), longest


async def unbroken(engine: Engine, number: int) -> Json:
    async with httpx2.AsyncClient(base_url=engine.url, timeout=60.0, trust_env=False, verify=False) as http:
        answer = (await http.post(CHAT, json=ask(number))).json()
    return {"text": answer["choices"][0]["message"]["content"], "ids": answer["choices"][0]["token_ids"]}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM], ids=["kill", "stop", "term"])
async def test_engines_that_end_under_their_streams(
    gateway: Gateways, clients: Clients, number: signal.Signals
) -> None:
    """One of three every 5 s, back 3 s later: text and ids are those of an unbroken run, and the delay is bounded."""
    with ExitStack() as stack:
        made = await asyncio.to_thread(house, stack, gateway)
        reference = await asyncio.to_thread(Emulators(stack), speed=10.0)
        body = [{**ask(each), "stream": True, "stream_options": {"include_usage": True}} for each in range(STREAMS)]
        requests = [await clients(made.gateway, each) for each in body]
        reading = [asyncio.create_task(follow(request)) for request in requests]
        draw = random.Random(7)
        for _ in range(ROUNDS):
            index = draw.randrange(3)
            await asyncio.wait(reading, timeout=2.0)
            made.strike(index, number)
            await asyncio.wait(reading, timeout=3.0)
            await asyncio.to_thread(made.restart, index)
        ends = await asyncio.gather(*reading)
        expected = await asyncio.gather(*(unbroken(reference, each) for each in range(STREAMS)))

    for (sse, _), whole in zip(ends, expected, strict=True):
        assert sse.error is None
        assert sse.done
        assert (sse.text, sse.ids) == (whole["text"], whole["ids"])
        assert sse.usage is not None
        assert sse.usage["completion_tokens"] == TOKENS
        assert [choice["finish_reason"] for choice in sse.choices if choice["finish_reason"]] == ["length"]
    delays = sorted(longest for _, longest in ends)
    p99 = delays[min(len(delays) - 1, int(0.99 * len(delays)))]
    print(f"{STREAMS} streams, {number.name}: silence p50 {delays[len(delays) // 2]:.2f} s, p99 {p99:.2f} s")
    assert p99 <= DETECTION_S + 2.0


@pytest.mark.parametrize("fault", ["die_after_tokens", "error_after_tokens", "garbage_after_tokens"])
async def test_engines_that_break_their_answers(gateway: Gateways, clients: Clients, fault: str) -> None:
    """Cut off, an error and then [DONE], garbage: the other engine goes on, to a stop string found behind the cut."""
    with ExitStack() as stack:
        first, second = await asyncio.gather(*(asyncio.to_thread(Emulators(stack)) for _ in range(2)))
        served = await asyncio.to_thread(gateway, [first, second], pool={"attempts": 5})
        async with httpx2.AsyncClient(base_url=second.url, trust_env=False, verify=False) as http:
            whole = (await http.post(CHAT, json={**ask(1), "max_tokens": 40})).json()["choices"][0]
            stop = whole["message"]["content"][-12:-6]
            until = (await http.post(CHAT, json={**ask(1), "max_tokens": 40, "stop": stop})).json()["choices"][0]
        for engine in (first, second):
            await asyncio.to_thread(
                httpx2.post, f"{engine.url}/emulator/faults", json={fault: 30, "count": 1}, trust_env=False
            )
        body = {**ask(1), "max_tokens": 40, "stream": True, "stop": stop}
        sse = await (await clients(served, body)).sse()

    assert (sse.error, sse.done) == (None, True)
    assert (sse.text, sse.ids) == (until["message"]["content"], until["token_ids"])
    assert sse.choices[-1]["stop_reason"] == stop
