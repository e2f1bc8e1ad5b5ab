"""What every limit store does. A new store is one more row in STORES.

The arithmetic is tested in tests/core; here is what a store must keep of it: refusals with their times, headers,
refunds, lost reservations, and admission that stays right when requests come at the same time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.core.limits import Limits, RateLimiter, Reservation
from gateway.errors import RateLimited, TooManyStreams
from gateway.stores.base import LimitStore
from gateway.stores.memory import MemoryLimitStore
from gateway.stores.redis_limits import RedisLimitStore
from tests.support.pairs import Tripwire, TwoLimitStores
from tests.support.redis import RedisServer, linked
from tests.support.relay import relayed

TTL_S = 60.0
STORES = ("memory", "redis", "redis, cut at every command")
LIMITS = Limits(requests_per_minute=60, tokens_per_minute=600, concurrent_streams=3)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LimitStore]:
    if request.param == "memory":
        yield MemoryLimitStore(RateLimiter(ttl_s=TTL_S))
        return
    server: RedisServer = request.getfixturevalue("redis")
    async with AsyncExitStack() as stack:
        url, tripwire = server.url, None
        if "cut" in request.param:
            relay = stack.enter_context(relayed("127.0.0.1", server.port))
            url, tripwire = f"redis://127.0.0.1:{relay.port}/0", Tripwire(b"EVALSHA", b"EVAL")
            relay.inject(tripwire)
        links = [await stack.enter_async_context(linked(url)) for _ in range(2)]
        yield TwoLimitStores([RedisLimitStore(link, ttl_s=TTL_S, time=lambda now: now) for link in links], tripwire)


async def remaining(store: LimitStore, now: float) -> tuple[int, int]:
    """Requests and tokens that the key has left."""
    state = await store.state("key", LIMITS, now=now)
    assert state.requests is not None
    assert state.tokens is not None
    return state.requests.remaining, state.tokens.remaining


async def test_a_reservation_tells_where_the_key_stands(store: LimitStore) -> None:
    """The headers of the answer come with the admission, and again from state."""
    reservation = await store.reserve("key", LIMITS, 150, now=0.0)

    assert reservation.state.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "450",
        "x-ratelimit-reset-tokens": "15s",
    }
    assert await store.state("key", LIMITS, now=0.0) == reservation.state


async def test_a_refusal_says_when_to_come_back(store: LimitStore) -> None:
    """Exactly then it passes; what can never pass has no time."""
    await store.reserve("key", LIMITS, 600, now=0.0)
    with pytest.raises(RateLimited) as refused:
        await store.reserve("key", LIMITS, 60, now=0.0)
    with pytest.raises(RateLimited) as impossible:
        await store.reserve("key", LIMITS, 601, now=0.0)

    assert refused.value.retry_after_s == pytest.approx(6.0)
    assert impossible.value.retry_after_s is None
    assert (await store.reserve("key", LIMITS, 60, now=6.0)).tokens == 60


async def test_requests_at_the_same_time_do_not_exceed_a_limit(store: LimitStore) -> None:
    """Of twenty at once, three get a stream; nothing is taken for the others."""
    results = await asyncio.gather(
        *(store.reserve("key", LIMITS, 10, now=0.0) for _ in range(20)), return_exceptions=True
    )
    admitted = [result for result in results if isinstance(result, Reservation)]

    assert len(admitted) == 3
    assert sum(isinstance(result, TooManyStreams) for result in results) == 17
    assert await remaining(store, 0.0) == (57, 570)
    assert len({reservation.id for reservation in admitted}) == 3


async def test_what_was_not_used_comes_back_once(store: LimitStore) -> None:
    """Settling and releasing repeat without harm; the stream's slot is free again."""
    reservations = [await store.reserve("key", LIMITS, 100, now=0.0) for _ in range(3)]
    for _ in range(2):
        assert store.settle(reservations[0], 40, now=0.0)
    for _ in range(2):
        store.release(reservations[0], 70, now=0.0)

    assert await remaining(store, 0.0) == (57, 330)
    assert not store.settle(reservations[0], 100, now=0.0)
    await store.reserve("key", LIMITS, 0, now=0.0)
    with pytest.raises(TooManyStreams):
        await store.reserve("key", LIMITS, 0, now=0.0)


async def test_use_beyond_the_estimate_is_charged_at_once(store: LimitStore) -> None:
    """Other requests feel it while the stream runs."""
    reservation = await store.reserve("key", LIMITS, 100, now=0.0)
    store.settle(reservation, 700, now=0.0)

    assert await remaining(store, 0.0) == (59, 0)
    with pytest.raises(RateLimited) as refused:
        await store.reserve("key", LIMITS, 10, now=0.0)
    assert refused.value.retry_after_s == pytest.approx(11.0)


async def test_a_lost_reservation_ends_by_itself(store: LimitStore) -> None:
    """A gateway's death holds a slot for its lifetime only; a settled stream lives on."""
    await store.reserve("key", LIMITS, 600, now=0.0)
    alive = await store.reserve("key", LIMITS, 0, now=0.0)
    store.settle(alive, 0, now=TTL_S - 1)

    assert await remaining(store, TTL_S) == (60, 600)
    assert store.settle(alive, 0, now=TTL_S)


async def test_what_never_became_a_job_is_undone(store: LimitStore) -> None:
    """Cancelling gives back the request, the tokens and the stream, once."""
    reservation = await store.reserve("key", LIMITS, 150, now=0.0)

    store.cancel(reservation, now=0.0)
    store.cancel(reservation, now=0.0)
    store.release(reservation, 150, now=0.0)

    assert await remaining(store, 0.0) == (60, 600)
