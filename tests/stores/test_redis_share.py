"""The script in Redis says what the pure ledger says; charges, lifts and messages reach everybody."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.accounts import Delta
from gateway.core.ledger import Entry, Ledger, Request
from gateway.core.shares import Amount, Line
from gateway.engines.base import EngineFacts, EngineSettings
from gateway.stores.memory_share import MemoryShare
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.redis_share import RedisShare
from gateway.stores.share import EngineRecord, Health, Message
from tests.support.redis import RedisServer, kept, linked, redis_server
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the module."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


NAMES = st.sampled_from(["g0", "g1", "g2"])
ENGINES = st.sampled_from(["e1", "e2"])
AMOUNTS = st.builds(Amount, st.integers(0, 40), st.integers(0, 400_000))
LINES = st.builds(
    Line, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(0, 10), st.sampled_from([1.0, 2.5]), st.booleans()
)
REQUESTS = st.builds(
    Request,
    me=NAMES,
    seq=st.integers(1, 12),
    nonce=st.just("n"),
    entries=st.dictionaries(ENGINES, st.builds(Entry, LINES, AMOUNTS)),
    epoch=st.sampled_from(["", "n", "o"]),
    settled=st.booleans(),
    knows=st.integers(0, 4),
    address=st.sampled_from(["", "127.0.0.1:1"]),
    buried=st.dictionaries(NAMES, st.integers(1, 12), max_size=1),
    freed=st.dictionaries(ENGINES, st.dictionaries(NAMES, AMOUNTS, max_size=2), max_size=1),
    leaves=st.sampled_from([False, False, False, True]),
    era=st.integers(0, 3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(REQUESTS, max_size=25))
def test_the_script_is_the_ledger(redis: RedisServer, requests: list[Request]) -> None:
    """Whatever is asked in whatever order: the same book."""

    async def both() -> None:
        ledger = Ledger()
        async with linked(redis.url) as link:
            await link.do("FLUSHALL")
            share = RedisShare(link, "a model")
            for request in requests:
                assert await share.exchange(request, None) == ledger.sync(request)

    asyncio.run(both())


TENANTS = st.sampled_from(["t", "u {}", "v"])
SUMS = st.dictionaries(TENANTS, st.integers(-20, 200).map(float), max_size=3)
ERAS = st.dictionaries(TENANTS, st.integers(0, 4), max_size=3)
BEGINNINGS = st.lists(TENANTS, unique=True, max_size=2).map(tuple)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    """Any; whose totals begin is told what they begin with."""
    begun = draw(BEGINNINGS)
    lifts = {**dict.fromkeys(begun, 7.0), **draw(SUMS)}
    return Delta(draw(SUMS), lifts, eras=draw(ERAS), begun=begun)


def remembered(delta: Delta) -> Delta:
    """Totals of every tenant that is named."""
    return Delta({t: delta.charges.get(t, 0.0) for t in delta.tenants}, delta.lifts, eras=delta.eras)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(st.tuples(deltas(), st.booleans(), st.booleans()), max_size=20))
def test_the_script_keeps_the_totals(redis: RedisServer, told: list[tuple[Delta, bool, bool]]) -> None:
    """Whatever is told and seeded, in whatever eras: the same sums as in the twin in memory."""

    async def both() -> None:
        twin, era = MemoryShare(), 1
        async with linked(redis.url) as link:
            await link.do("FLUSHALL")
            share = RedisShare(link, "a model")
            for number, (delta, turns, seeds) in enumerate(told, 1):
                era += turns
                for store in (share, twin):
                    if seeds:
                        await store.seed(remembered(delta))
                    else:
                        await store.exchange(Request("g0", number, "n", {}, era=era), Message("g0", number, delta))
                assert await share.sums() == await twin.sums()

    asyncio.run(both())


@pytest.fixture
async def link(redis: RedisServer) -> RedisLink:
    """A link that does not run yet."""
    async with linked(redis.url) as cleaning:
        await cleaning.do("FLUSHALL")
    return RedisLink(LinkSettings(redis.url))


async def test_what_one_tells_the_others_hear_and_later_ones_read(link: RedisLink) -> None:
    share = RedisShare(link, "m{od}el")
    heard: list[Message] = []
    arrived, moved = asyncio.Event(), asyncio.Event()

    def hear(message: Message) -> None:
        heard.append(message)
        arrived.set()

    share.hear("g1", hear, moved.set)
    record = EngineRecord(EngineSettings(id="x", url="http://x", kind="vllm", model="m"), draining=True)
    health = {"e1": Health(EngineFacts(running=3, waiting=0))}
    told = Message("g0", 1, Delta({"t": 1.5}, {"t": 0.25}, 7.0), health, {"x": record})
    line = Line(want=Amount(1), whole=Amount(8))

    async with kept(link):
        await share.exchange(Request("g1", 1, "n", {}), None)
        request = Request("g0", 1, "n", {"e1": Entry(line, Amount(2))})
        await share.exchange(request, told)
        again = await share.exchange(request, told)
        async with asyncio.timeout(5.0):
            await arrived.wait()
            await moved.wait()
        sums = await share.sums()

    assert again.late  # so it is not charged twice
    assert heard == [told]
    assert (sums.totals, sums.numbers) == (Delta({"t": 1.5}, {"t": 0.25}, eras={"t": 0}), {"g0": 1})
    assert sums.engines == {"x": record}


async def test_nobody_hears_itself_and_who_is_alone_tells_nobody(link: RedisLink, redis: RedisServer) -> None:
    """The channel is quiet until a second gateway is in the ledger."""
    afar = RedisLink(LinkSettings(redis.url))
    share, other = RedisShare(link, "m"), RedisShare(afar, "m")
    heard: list[Message] = []
    overheard: list[Message] = []
    share.hear("g0", heard.append, lambda: None)
    other.hear("spy", overheard.append, lambda: None)
    told = [Message("g0", 1, Delta({"t": 1.0})), Message("g0", 2), Message("g1", 1, Delta({"t": 2.0}))]
    async with kept(link), kept(afar):
        await share.exchange(Request("g0", 1, "n", {}), told[0])
        await other.exchange(Request("g1", 1, "n", {}), None)
        await share.exchange(Request("g0", 2, "n", {}), told[1])
        await other.exchange(Request("g1", 2, "n", {}), told[2])
        await eventually(lambda: heard and len(overheard) == 2)
    assert (heard, overheard) == (told[2:], told[1:])


async def test_seeds_are_not_added_up(link: RedisLink) -> None:
    share = RedisShare(link, "model")
    async with kept(link):
        for amount in (3.0, 5.0, 4.0):
            await share.seed(Delta({"t": amount}, {"t": amount}))
        sums = await share.sums()
    assert (sums.totals.charges, sums.totals.lifts) == ({"t": 5.0}, {"t": 5.0})


async def test_another_process_begins_a_new_epoch(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as server:
        request = Request("g0", 1, "first", {"e1": Entry(Line(held=Amount(4), whole=Amount(8)), Amount(8))})
        async with linked(server.url) as link:
            first = await RedisShare(link, "model").exchange(request, None)
        server.kill()
        server.start()
        async with linked(server.url) as link:
            later = Request("g0", 2, "second", request.entries, epoch="first", settled=True)
            second = await RedisShare(link, "model").exchange(later, None)
    assert (first.epoch, second.epoch, second.settled) == ("first", "second", False)
    assert second.lines["e1"]["g0"].held == Amount(4)
