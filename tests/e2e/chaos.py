"""Many readers of two gateways that share a Redis, while something is killed, frozen, emptied or cut off."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.e2e.test_coming_back import OPT_IN, Heard, ask, events
from tests.support.raw import CHAT
from tests.support.redis import RedisServer
from tests.support.relay import Relay
from tests.support.servers import Emulators, Engine, Gateway, Gateways
from tests.support.waiting import eventually

STREAMS = int(os.environ.get("TEST_CHAOS_STREAMS", "12"))
PAUSE_S = float(os.environ.get("TEST_CHAOS_PAUSE_S", "3"))
PROMPTS = 6
SPEED = 2.4 / STREAMS  # some 2,400 tokens a second in all, which two cores can pass on
TTL_S = 3.0
TOKENS = int(1000 * SPEED * (PAUSE_S + TTL_S + STREAMS / 20))  # long enough for all to begin, and for what happens then
BACK_S = 0.1
# At each engine: who takes over waits for nobody's legs to end, also not those of the frozen. With fewer they wait.
PLACES = int(os.environ.get("TEST_CHAOS_PLACES", str(2 * STREAMS)))


@dataclass
class Reader:
    """Who reads one stream to its end, wherever it can be read."""

    number: int
    heard: Heard = field(default_factory=Heard)
    breaks: int = 0
    longest_s: float = 0.0  # between a break and the next event
    refusals: list[str] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # it has read on after a break
    _broken_at: float | None = None
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self) -> None:
        """Break the connection, as a reader does who hears nothing more."""
        self._leaving.set()

    async def read(self, houses: Sequence[httpx2.AsyncClient]) -> None:
        """Begin at one gateway; after each break come back, to each in turn."""
        turn = self.number
        while not self.heard.done:
            with suppress(httpx2.TransportError, httpx2.StreamError):
                await self._until_left(houses[turn % len(houses)])
            if not self.heard.done:
                self.breaks += 1
                self._broken_at = self._broken_at or time.monotonic()
                turn += 1
                await asyncio.sleep(BACK_S)

    async def _until_left(self, http: httpx2.AsyncClient) -> None:
        reading = asyncio.create_task(self._once(http))
        leaving = asyncio.create_task(self._leaving.wait())
        await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
        self._leaving.clear()
        leaving.cancel()
        if reading.done():
            reading.result()
        reading.cancel()
        await asyncio.gather(reading, leaving, return_exceptions=True)

    async def _once(self, http: httpx2.AsyncClient) -> None:
        heard = self.heard
        path = f"/v1/streams/{heard.stream_id}"
        request: dict[str, Any] = {"method": "GET", "url": path, "headers": {"last-event-id": str(heard.last)}}
        if not heard.stream_id:
            body = ask(self.number % PROMPTS, max_tokens=TOKENS)
            request = {"method": "POST", "url": CHAT, "json": body, "headers": OPT_IN}
        async with http.stream(**request) as response:
            if response.status_code != httpx2.codes.OK:
                self.refusals.append(f"{response.status_code} {(await response.aread())[:200]!r}")
                return
            heard.stream_id = response.headers["x-stream-id"]
            async for event in events(response):
                before = heard.last
                heard.take(event)
                if heard.last > before and self._broken_at is not None:
                    self.longest_s = max(self.longest_s, time.monotonic() - self._broken_at)
                    self._broken_at = None
                    self.moved.set()


@dataclass
class Scene:
    """Everything that can be broken. `relay` lies between the second gateway and Redis."""

    redis: RedisServer
    relay: Relay
    engines: list[Any]
    houses: list[Gateway]
    clients: list[httpx2.AsyncClient]
    expected: list[str]
    settings: dict[str, Any]  # of a gateway that comes later
    stack: AsyncExitStack  # what is closed at the end

    @asynccontextmanager
    async def reading(self, count: int = STREAMS) -> AsyncIterator[list[Reader]]:
        """Readers in the middle of their streams; behind the block all of them must come to the right end."""
        readers = [Reader(number) for number in range(count)]
        tasks = [asyncio.create_task(reader.read(self.clients)) for reader in readers]
        try:
            await eventually(lambda: all(reader.heard.last > 30 for reader in readers), timeout=60.0)
            assert not any(reader.heard.done for reader in readers), "too quick to be broken"
            yield readers
            async with asyncio.timeout(90.0):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [one for one in readers if one.heard.text != self.expected[one.number % PROMPTS]]
        worst = max(reader.longest_s for reader in readers)
        breaks = sum(reader.breaks for reader in readers)
        print(f"{count - len(wrong)} of {count} exact, {breaks} breaks, longest {worst:.2f} s")
        assert not wrong, [(one.number, one.heard.last, one.refusals) for one in wrong]
        assert worst < TTL_S + 2.0, [(one.number, one.longest_s, one.refusals) for one in readers]

    async def join(self, house: Gateway) -> None:
        """One more gateway; readers come to it too, once it knows their key."""
        http = await self.stack.enter_async_context(_client(house, self.houses[0]))
        self.houses.append(house)
        self.clients.append(http)
        await eventually(lambda: _known(http))

    def metric(self, house: int, name: str) -> float:
        """What a gateway says of itself."""
        return self.houses[house].metrics().value(name)

    async def available(self) -> None:
        """Until every gateway has its Redis again."""

        async def all_there() -> bool:
            values = [await asyncio.to_thread(self.metric, n, "andante_redis_available") for n in range(2)]
            return values == [1.0, 1.0]

        await eventually(all_there, timeout=15.0)

    async def logs_are_there(self, readers: Sequence[Reader]) -> None:
        """Until Redis has, again, what readers have seen: a gateway that dies before takes it along."""

        async def there() -> bool:
            for reader in readers:
                name = f"andante:stream:*{reader.heard.stream_id}*:log:*"
                if await asyncio.to_thread(self.redis.last_number, name) < reader.heard.last:
                    return False
            return True

        await eventually(there, timeout=15.0)

    async def lasting(self) -> None:
        """How long a disturbance lasts."""
        await asyncio.sleep(PAUSE_S)


def _client(house: Gateway, known: Gateway) -> httpx2.AsyncClient:
    """For requests to one gateway with the key that was made at another."""
    limits = httpx2.Limits(max_connections=1000)
    return httpx2.AsyncClient(base_url=house.url, headers=known.headers, timeout=30.0, trust_env=False, limits=limits)


def _unbroken(engine: Engine, number: int) -> str:
    """The whole answer to a prompt, asked of an engine itself."""
    body = {**ask(number, max_tokens=TOKENS), "stream": False}
    answer = httpx2.post(f"{engine.url}{CHAT}", json=body, timeout=60.0, trust_env=False)
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


async def _known(http: httpx2.AsyncClient) -> bool:
    return (await http.get("/v1/models")).status_code == httpx2.codes.OK


@asynccontextmanager
async def scene(emulator: Emulators, gateway: Gateways, redis: RedisServer, relay: Relay) -> AsyncIterator[Scene]:
    """Two engines, two gateways; what each prompt's answer should be."""
    *engines, reference = await asyncio.gather(
        *(asyncio.to_thread(emulator, "--max-num-seqs", str(PLACES), speed=speed) for speed in (SPEED, SPEED, 10.0))
    )
    urls = [redis.url, f"redis://127.0.0.1:{relay.port}/0"]
    pool = {"queue": {"max_jobs_per_tenant": 1000}}
    more = {"pool": pool, "engine": {"max_running": PLACES}, "redis": {"url": redis.url, "ttl_s": TTL_S}}
    settings = [{"url": url, "ttl_s": TTL_S} for url in urls]
    each = {"max_running": PLACES}
    houses = await asyncio.gather(
        *(asyncio.to_thread(gateway, engines, pool=pool, engine=each, redis=one) for one in settings)
    )
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(house, houses[0])) for house in houses]
        await eventually(lambda: _known(clients[1]))
        whole = [await asyncio.to_thread(_unbroken, reference, number) for number in range(PROMPTS)]
        yield Scene(redis, relay, engines, houses, clients, whole, more, stack)
