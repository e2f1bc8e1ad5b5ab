"""Limits of two gateways while Redis is cut off, empty, or slow to come back."""

import asyncio

import pytest

from gateway.core.limits import NO_LIMITS, Limits, LimitState
from gateway.errors import RateLimited, TooManyStreams
from gateway.stores.redis_limits import RedisLimitStore
from tests.support.redis import RedisServer, linked
from tests.support.relay import relayed
from tests.support.waiting import eventually

LIMITS = Limits(requests_per_minute=60, tokens_per_minute=6000, concurrent_streams=10)


async def admitted(store: RedisLimitStore, tokens: int = 1) -> int:
    """How many requests a store admits before it refuses one."""
    count = 0
    while True:
        try:
            await store.reserve("key", LIMITS, tokens, now=0.0)
        except (RateLimited, TooManyStreams):
            return count
        count += 1


async def test_a_gateway_that_is_cut_off_exceeds_a_limit_by_its_share_at_most(redis: RedisServer) -> None:
    """It admits its share alone, the other one admits the limit."""
    with relayed("127.0.0.1", redis.port) as relay:
        async with linked(redis.url) as well, linked(f"redis://127.0.0.1:{relay.port}/0") as ill:
            here, there = (RedisLimitStore(link, gateways=lambda: 2, time=lambda now: now) for link in (well, ill))
            relay.cut()
            await eventually(lambda: not ill.available)
            assert await admitted(there) == 5
            assert await admitted(here) == 10
            assert there.alone == 5


async def test_while_redis_is_away_all_together_keep_the_limit(redis: RedisServer) -> None:
    """Each admits its share; those that were open before count."""
    with relayed("127.0.0.1", redis.port) as relay:
        url = f"redis://127.0.0.1:{relay.port}/0"
        async with linked(url) as one, linked(url) as other:
            stores = [RedisLimitStore(link, gateways=lambda: 2, time=lambda now: now) for link in (one, other)]
            for _ in range(3):
                await stores[0].reserve("key", LIMITS, 1, now=0.0)
            relay.cut()
            await eventually(lambda: not one.available and not other.available)
            assert [await admitted(store) for store in stores] == [2, 5]


async def test_what_was_used_alone_is_told_when_redis_is_back(redis: RedisServer) -> None:
    """Tokens and streams."""
    with relayed("127.0.0.1", redis.port) as relay:
        async with linked(redis.url) as well, linked(f"redis://127.0.0.1:{relay.port}/0") as ill:
            here, there = (RedisLimitStore(link, gateways=lambda: 2, time=lambda now: now) for link in (well, ill))
            relay.cut()
            await eventually(lambda: not ill.available)
            lonely = await there.reserve("key", LIMITS, 500, now=0.0)
            there.settle(lonely, 700, now=0.0)
            relay.mend()
            async with asyncio.timeout(10.0):
                await ill.wait()
            await there.report("key", now=0.0)
            state = await here.state("key", LIMITS, now=0.0)
            assert state.tokens is not None
            assert state.tokens.remaining == 5300
            assert await admitted(here) == 9
            there.release(lonely, 700, now=0.0)
            await there.report("key", now=0.0)
            assert await admitted(here) == 1


async def test_an_empty_redis_learns_what_was_used(redis: RedisServer) -> None:
    """Levels from who knew them, streams from who has them."""
    async with linked(redis.url) as link:
        store = RedisLimitStore(link, time=lambda now: now)
        open_ones = [await store.reserve("key", LIMITS, 1000, now=0.0) for _ in range(4)]
        redis.flush()
        store.emptied()
        await store.report("key", now=0.0)
        last = await store.reserve("key", LIMITS, 1000, now=0.0)
        assert last.state.tokens is not None
        assert last.state.tokens.remaining == 1000
        assert await admitted(store) == 5
        for each in open_ones:
            store.release(each, 0, now=0.0)
        state = await store.state("key", LIMITS, now=0.0)
        assert state.tokens is not None
        assert state.tokens.remaining == 4995


async def test_a_key_without_limits_asks_redis_nothing(redis: RedisServer) -> None:
    """Nor when its stream is settled, handed over or ended; a limit that it gets later counts from then on."""
    async with linked(redis.url) as one, linked(redis.url) as other:
        here, there = (RedisLimitStore(link, time=lambda now: now) for link in (one, other))
        before = one.operations, other.operations
        reservations = [await here.reserve("key", NO_LIMITS, 10**9, now=0.0) for _ in range(3)]
        assert reservations[0].state == await here.state("key", NO_LIMITS, now=0.0) == LimitState(None, None)
        here.settle(reservations[0], 100, now=0.0)
        taken = there.take_over(reservations[0], now=0.0)
        here.leave(reservations[0], now=0.0)
        there.settle(taken, 200, now=0.0)
        there.release(taken, 300, now=0.0)
        here.release(reservations[1], 100, now=0.0)
        here.cancel(reservations[2], now=0.0)
        for store in (here, there):
            await store.report(*store._unsent, now=0.0)
        assert (one.operations, other.operations) == before
        assert redis.count("*limits:*") == 0
        assert await admitted(here) == 10


async def test_the_clock_is_redis_own(redis: RedisServer) -> None:
    """Gateways whose clocks are hours apart refill one bucket once."""
    async with linked(redis.url) as link:
        stores = [RedisLimitStore(link), RedisLimitStore(link)]
        await stores[0].reserve("key", LIMITS, 6000, now=0.0)
        with pytest.raises(RateLimited) as refused:
            await stores[1].reserve("key", LIMITS, 6000, now=10_000.0)
        assert refused.value.retry_after_s == pytest.approx(60.0, abs=2.0)


async def test_a_reservation_is_handed_over(redis: RedisServer) -> None:
    """Who took it over settles it; who left it says nothing more; it is refunded once."""
    async with linked(redis.url) as one, linked(redis.url) as other:
        here, there = (RedisLimitStore(link, time=lambda now: now) for link in (one, other))
        reservation = await here.reserve("key", LIMITS, 1000, now=0.0)
        here.settle(reservation, 300, now=0.0)
        taken = there.take_over(reservation, now=0.0)
        here.leave(reservation, now=0.0)
        here.release(reservation, 300, now=0.0)
        there.release(taken, 400, now=0.0)
        for store in (here, there):
            await store.report("key", now=0.0)
        state = await here.state("key", LIMITS, now=0.0)
        assert state.tokens is not None
        assert state.tokens.remaining == 5600


async def test_a_reservation_that_was_cancelled_on_its_way_holds_nothing(redis: RedisServer) -> None:
    """Redis may have done it, though nobody heard the answer."""
    with relayed("127.0.0.1", redis.port) as relay:
        async with linked(f"redis://127.0.0.1:{relay.port}/0") as link, linked(redis.url) as other:
            store, seen = RedisLimitStore(link), RedisLimitStore(other)
            limits = Limits(concurrent_streams=1)
            relay.delay_s = 0.1
            asking = asyncio.create_task(store.reserve("k", limits, 1, now=0.0))
            await eventually(lambda: redis.count("*limits:*holds") == 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            relay.delay_s = 0.0
            await link.wait()
            await store.report("k", now=0.0)
            assert (await seen.reserve("k", limits, 1, now=0.0)).tokens == 1
