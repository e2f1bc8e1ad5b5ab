"""Who writes a stream: one gateway, and after its death the one that claims it first."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.errors import StreamNotFound
from gateway.stores.redis_exchange import RedisStreamExchange
from gateway.stores.redis_heartbeat import Heartbeat
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.redis_streams import RedisStreamLog
from gateway.stores.stream_exchange import Inheritance, Position
from tests.support.redis import RedisServer
from tests.support.relay import Relay, relayed
from tests.support.stream_pair import Quiet
from tests.support.waiting import eventually

TTL_S = 0.6
MUCH = 1 << 30


@dataclass
class Tale:
    """What is kept beside a log: how many times it was asked."""

    count: int = 0

    def origin(self) -> bytes:
        return b"the request"

    def progress(self, since: Position) -> tuple[bytes, Position]:
        self.count += 1
        return b"%d" % self.count, (self.count, 0)


@dataclass
class Watcher(Quiet):
    """Remembers what it was told."""

    losses: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def lost(self, stream_id: str) -> None:
        self.losses.append(stream_id)

    def orphaned(self, stream_id: str) -> None:
        self.orphans.append(stream_id)


class House:
    """One gateway's side. `stop_beating` is a freeze, as others see it."""

    def __init__(self, url: str, name: str) -> None:
        self.link = RedisLink(LinkSettings(url))
        self.heartbeat = Heartbeat(self.link, name, ttl_s=TTL_S)
        self.log = RedisStreamLog(self.link, name, calm_s=0.0)
        self.exchange = RedisStreamExchange(self.link, self.heartbeat, self.log, lambda: 0.0)
        self.watcher = Watcher()
        self.exchange.watch(self.watcher)
        self.beating: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["House"]:
        self.beating = asyncio.create_task(self.heartbeat.run())
        runs = (self.link.run, self.log.run, self.exchange.run)
        tasks = [self.beating, *(asyncio.create_task(run()) for run in runs)]
        try:
            await self.link.wait()
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def write(self, *events: bytes) -> None:
        self.log.append("s", events, now=0.0)
        await eventually(lambda: not self.log.behind)


@pytest.fixture
async def houses(redis: RedisServer) -> AsyncIterator[tuple[House, House, House, Relay]]:
    """Three gateways, the first of which is behind a relay, and has a stream."""
    with relayed("127.0.0.1", redis.port) as relay:
        urls = (f"redis://127.0.0.1:{relay.port}/0", redis.url, redis.url)
        async with AsyncExitStack() as stack:
            first, second, third = [
                await stack.enter_async_context(House(url, name).running())
                for url, name in zip(urls, "abc", strict=True)
            ]
            first.log.open("s", "alice", now=0.0)
            first.exchange.keep("s", Tale())
            await first.write(b"1", b"2")
            yield first, second, third, relay


async def test_a_stream_of_the_living_is_not_claimed(houses: tuple[House, House, House, Relay]) -> None:
    """However often it is tried."""
    first, second, *_ = houses
    await second.exchange.attach("s")
    assert list(second.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2"]
    assert second.exchange.more_to_come("s")
    assert await second.exchange.claim("s") is None
    with pytest.raises(StreamNotFound):
        await second.exchange.attach("unknown")
    assert first.watcher.losses == []


async def bereave(first: House, *heirs: House) -> None:
    """The writer falls silent, and who has copies of its stream knows that it is gone."""
    assert first.beating is not None
    first.beating.cancel()
    for heir in heirs:
        await heir.exchange.attach("s")
        await eventually(lambda heir=heir: heir.heartbeat.gone("a"))  # type: ignore[misc]


async def test_a_dead_writer_s_stream_is_claimed_once_and_the_dead_writes_no_more(
    houses: tuple[House, House, House, Relay],
) -> None:
    """One of two heirs gets it, with all that was kept; what the old writer sends when it wakes up is refused."""
    first, second, third, _ = houses
    await bereave(first, second, third)
    claims = await asyncio.gather(second.exchange.claim("s"), third.exchange.claim("s"))
    (inherited,) = [claim for claim in claims if claim is not None]
    assert (inherited.owner, inherited.origin, inherited.last, inherited.epoch) == ("alice", b"the request", 2, 2)
    assert list(inherited.progress) == [b"1"]
    winner, loser = (second, third) if claims[0] is not None else (third, second)
    await winner.write(b"3")
    first.log.append("s", [b"not 3"], now=0.0)
    await eventually(lambda: first.watcher.losses == ["s"])
    await loser.exchange.attach("s")
    assert list(loser.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2", b"3"]
    await first.exchange.attach("s")
    assert list(first.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2", b"3"]


async def test_nobody_is_dead_while_redis_was_away(
    houses: tuple[House, House, House, Relay], redis: RedisServer
) -> None:
    """All of them get their time to beat again."""
    _, second, third, _ = houses
    await second.exchange.attach("s")
    await asyncio.to_thread(redis.flush)
    await eventually(lambda: len(second.heartbeat.alive) == 3)
    assert not await third.heartbeat.gone("a")
    assert await second.exchange.claim("s") is None


async def test_readers_see_what_redis_has_and_everything_while_it_is_away(
    houses: tuple[House, House, House, Relay],
) -> None:
    """And what they saw meanwhile is in Redis when it is back."""
    first, second, _, relay = houses
    relay.stall()
    first.log.append("s", [b"3"], now=0.0)
    assert list(first.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2"]
    heard: list[int] = []
    first.log.follow("s", lambda: heard.append(1))
    await eventually(lambda: not first.link.available)
    assert heard
    assert list(first.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2", b"3"]
    relay.cut()
    relay.flow()
    relay.mend()
    await first.link.wait()
    assert list(first.log.read("s", 2, max_bytes=MUCH).events) == [b"3"]
    await eventually(lambda: not first.log.behind)
    await second.exchange.attach("s")
    assert list(second.log.read("s", 0, max_bytes=MUCH).events) == [b"1", b"2", b"3"]


async def test_a_gateway_that_stops_hands_its_streams_over_at_once(
    houses: tuple[House, House, House, Relay],
) -> None:
    """Who asks need not wait until it would count as dead; what it wrote stays, and what it still writes is refused."""
    first, second, *_ = houses
    await second.exchange.attach("s")
    await eventually(lambda: second.heartbeat._since is not None)
    assert await first.exchange.hand_over() == 1
    assert first.watcher.losses == ["s"]
    assert first.exchange.lost == 0
    claims: list[Inheritance] = []

    async def claimed() -> bool:
        claims.extend(filter(None, [await second.exchange.claim("s")]))
        return bool(claims)

    await eventually(claimed)
    (inherited,) = claims
    assert (inherited.last, inherited.epoch) == (2, 2)


async def test_the_last_gateway_hands_nothing_over(redis: RedisServer) -> None:
    """Its streams end where they are: there is nobody to go on with them."""
    async with House(redis.url, "alone").running() as only:
        only.log.open("s", "alice", now=0.0)
        await only.write(b"1")
        assert await only.exchange.hand_over() == 0
        assert "s" in only.log.writing


async def test_a_gateway_that_stops_sends_the_readers_of_copies_away(
    houses: tuple[House, House, House, Relay],
) -> None:
    """The writer lives and goes on; here nothing more of it comes, and nobody would take it over."""
    first, second, *_ = houses
    await second.exchange.attach("s")
    second.log.follow("s", lambda: None)
    assert await second.exchange.hand_over() == 0
    assert second.watcher.losses == ["s"]
    assert not second.exchange.more_to_come("s")
    await first.write(b"3")
    assert first.watcher.losses == []


async def test_a_copy_is_read_on_where_all_gateways_stop(
    houses: tuple[House, House, House, Relay],
) -> None:
    """Its readers have nowhere to go, and its writer drains: it writes to the end."""
    first, second, third, _ = houses
    await second.exchange.attach("s")
    second.log.follow("s", lambda: None)
    second.exchange.reading("s")
    await eventually(lambda: bool(first.log.writing["s"].readers))
    assert await asyncio.gather(*(each.exchange.hand_over() for each in (first, second, third))) == [0, 0, 0]
    assert second.watcher.losses == []
    await first.write(b"3")
    await eventually(lambda: list(second.log.read("s", 2, max_bytes=MUCH).events) == [b"3"])


async def test_a_copy_that_goes_while_it_is_claimed_is_not_written_here(
    houses: tuple[House, House, House, Relay],
) -> None:
    """The log is not there to be sent; whoever comes next claims the stream."""
    first, second, third, _ = houses
    await bereave(first, second, third)
    claim = asyncio.create_task(second.exchange.claim("s"))
    await asyncio.sleep(0)  # it has begun, and asks Redis
    second.log.drop("s")
    assert await claim is not None
    assert not second.exchange.more_to_come("s")
    assert not second.log.behind
    await second.heartbeat.leave()

    async def claimed() -> bool:
        return await third.exchange.claim("s") is not None

    await eventually(claimed)
