"""Streams that are paused at random points, at engines as processes: the client's bytes tell nothing of it."""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.core.plan import Pause, Plan, Reason
from gateway.core.policies import POLICIES
from gateway.core.scheduler import Scheduler
from gateway.core.waiting_room import QueueLimits
from gateway.engines.base import Endpoint, EngineSettings, LegRequest
from gateway.engines.vllm import VllmEngine
from gateway.runtime.caretaker import ClientTimeouts
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.stream import JobRequest, Stream
from tests.runtime.fakes import FakeMeter, Watcher, job_request
from tests.support.servers import MODEL, Emulators

STREAMS = int(os.environ.get("TEST_PAUSED_STREAMS", "60"))
SPEED = 0.05  # slow enough that tokens come one by one, also to a busy core, and each asks for its pause
AT_ONCE = 50
Json = dict[str, Any]


@dataclass
class Reader:
    """A client's socket that asks for a pause once so much of the stream has come."""

    pauses: list[int]
    pause: Any = None
    data: bytes = b""
    tokens: int = 0
    stream: Stream | None = None
    asked: int = field(default=0)

    def write(self, data: bytes) -> bool:
        self.data += data
        assert self.stream is not None
        if self.asked < len(self.pauses) and self.stream.produced >= self.pauses[self.asked]:
            self.asked += 1
            asyncio.get_running_loop().call_soon(self.pause, self.stream)
        return True

    def said(self) -> Json:
        chunks = [json.loads(line[6:]) for line in self.data.decode().split("\n\n") if line]
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        deltas = [choice["delta"] for choice in choices]
        usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        return {
            "ids": [token for choice in choices for token in choice.get("token_ids") or ()],
            "text": "".join(delta.get("content") or "" for delta in deltas),
            "roles": [delta["role"] for delta in deltas if "role" in delta],
            "finish": [(c["finish_reason"], c.get("stop_reason")) for c in choices if c["finish_reason"]],
            "usage": [[usage[f"{kind}_tokens"] for kind in ("prompt", "completion", "total")] for usage in usages],
            "names": len({chunk["id"] for chunk in chunks}),
        }


@asynccontextmanager
async def dispatcher(urls: list[str]) -> AsyncIterator[tuple[Dispatcher, Pool, Watcher]]:
    watcher = Watcher()
    engines = [VllmEngine(EngineSettings(f"e{n}", url, "vllm", MODEL, max_running=64)) for n, url in enumerate(urls)]
    pool = Pool(
        PoolSettings(MODEL, "fcfs"), engines, Scheduler(POLICIES["fcfs"], QueueLimits()), watcher, SystemClock()
    )
    made = Dispatcher([pool], SystemClock(), watcher, ClientTimeouts())
    async with AsyncExitStack() as stack:
        await made.start()
        stack.push_async_callback(made.stop)
        yield made, pool, watcher


def request_of(number: int, draw: random.Random) -> JobRequest:
    """Greedy or seeded, with a stop string or without, to the end of the answer or of its tokens."""
    body: Json = {
        "messages": [{"role": "user", "content": f"{number}: the river 川 and 👩‍👩‍👧‍👦, é."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
        "max_tokens": draw.randint(20, 120),
    }
    body |= {"temperature": 0} if number % 2 else {"temperature": 0.8, "seed": number}
    if number % 3 == 0:
        body |= {"stop": draw.choice([["the water", " of a"], "again", ["and then ", "ing "]]), "min_tokens": 12}
    else:
        body |= {"ignore_eos": number % 3 == 1}
    fake = job_request(meter=FakeMeter())
    leg = LegRequest(fake.id, Endpoint.CHAT, body, stream=True, include_usage=True, include_token_ids=True)
    return JobRequest(leg, fake.request_id, "t", 1.0, MODEL, fake.size, 10, body["max_tokens"], fake.pace, fake.meter)


async def run(made: Dispatcher, pool: Pool, number: int, pauses: list[int]) -> Json:
    def pause(stream: Stream) -> None:
        if stream.engine_id is not None:
            plan = Plan(pause=(Pause(stream.request.id, stream.engine_id, Reason.ROOM),))
            made._apply(pool, plan, made._clock.now())

    reader = Reader(pauses, pause)
    stream = reader.stream = made.submit(request_of(number, random.Random(number)))
    await stream.head
    stream.follow(reader)
    assert await asyncio.wait_for(stream.end, 60.0) is None
    return reader.said()


@pytest.mark.parametrize("engines", [1, 2])
async def test_paused_streams_are_the_unbroken_ones(engines: int) -> None:
    """Text, token ids, usage, finish and stop reason are equal, byte for byte, with one to five pauses each."""
    with ExitStack() as stack:
        urls = [(await asyncio.to_thread(Emulators(stack), speed=SPEED)).url for _ in range(engines)]
        async with dispatcher(urls) as (made, pool, watcher):
            gate = asyncio.Semaphore(AT_ONCE)

            async def both(number: int) -> bool:
                draw = random.Random(1000 + number)
                async with gate:
                    whole = await run(made, pool, number, [])
                    last = max(2, len(whole["ids"]))
                    pauses = sorted(draw.randint(1, last) for _ in range(draw.randint(1, 5)))
                    broken = await run(made, pool, number, pauses)
                assert broken == whole, (number, pauses)
                return bool(whole["finish"])

            ends = await asyncio.gather(*(both(number) for number in range(STREAMS // engines)))

    assert all(ends)
    print(f"{len(ends)} of {len(ends)} exact, {len(watcher.paused)} pauses, {len(watcher.costs)} legs resumed")
    assert len(watcher.paused) > len(ends) // 2  # on starved cores some answers end before their pauses come
