"""Nothing that was accepted is lost or doubled when a gateway dies, or Redis does, or the network between them.

TEST_CHAOS_STREAMS=200 TEST_CHAOS_PAUSE_S=10 is the full size; CI runs a smaller one.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.chaos import Scene, scene
from tests.support.programs import require_quiet_machine
from tests.support.redis import redis_server
from tests.support.relay import relayed
from tests.support.servers import Emulators, Gateways


@pytest.fixture
async def stage(emulator: Emulators, gateway: Gateways, tmp_path: Path) -> AsyncIterator[Scene]:
    with redis_server(tmp_path / "redis") as redis, relayed("127.0.0.1", redis.port) as relay:
        async with scene(emulator, gateway, redis, relay) as made:
            yield made


async def test_a_gateway_is_killed(stage: Scene) -> None:
    """Its streams are taken over by the other one, once its time is up."""
    async with stage.reading() as readers:
        stage.houses[0].process.kill()
    assert stage.metric(1, "andante_streams_taken_over_total") == sum(not one.number % 2 for one in readers)


async def test_gateways_are_replaced_in_turn(stage: Scene, gateway: Gateways) -> None:
    """Each hands its streams to those that are there, and its readers find them at once: nobody's time must be up."""
    for _ in range(2):
        await stage.join(await asyncio.to_thread(gateway, stage.engines, **stage.settings))
    async with stage.reading() as readers:
        for house in stage.houses[:2]:
            house.process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(house.process.wait) == 0
    assert all(reader.breaks for reader in readers if reader.number % 4 == 0)


async def test_a_gateway_is_frozen(stage: Scene) -> None:
    """Its readers go elsewhere; when it wakes up, it writes no more."""
    async with stage.reading() as readers:
        stage.houses[0].process.signal(signal.SIGSTOP)
        for reader in readers[::2]:
            reader.leave()
        try:
            await asyncio.gather(*(reader.moved.wait() for reader in readers[::2]))
        finally:
            stage.houses[0].process.signal(signal.SIGCONT)
    taken = stage.metric(1, "andante_streams_taken_over_total")
    assert taken > 0
    assert stage.metric(0, "andante_streams_lost_total") == taken


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "with its data"])
async def test_redis_is_killed(stage: Scene, empty: bool) -> None:
    """Nobody notices; and when it is back, a gateway that is killed is replaced as before."""
    if empty:
        require_quiet_machine()
    async with stage.reading() as readers:
        stage.redis.kill()
        stage.redis.start(empty=empty)
        await stage.available()
        assert sum(reader.breaks for reader in readers) == 0
        await stage.logs_are_there(readers)
        stage.houses[0].process.kill()


async def test_redis_is_paused(stage: Scene) -> None:
    """The gateways go on alone."""
    async with stage.reading() as readers:
        stage.redis.pause()
        await stage.lasting()
        stage.redis.resume()
        await stage.available()
    assert sum(reader.breaks for reader in readers) == 0


@pytest.mark.parametrize("how", ["stalls", "delays", "cuts"])
async def test_the_network_of_one_gateway(stage: Scene, how: str) -> None:
    """The gateway behind it goes on alone or slowly, the other one does not care."""
    relay = stage.relay
    async with stage.reading() as readers:
        if how == "stalls":
            relay.stall()
            await stage.lasting()
            relay.flow()
        elif how == "delays":
            relay.delay_s = 0.1
            await stage.lasting()
            relay.delay_s = 0.0
        else:
            relay.cut()
            await stage.lasting()
            relay.mend()
        await stage.available()
    assert sum(reader.breaks for reader in readers) == 0
