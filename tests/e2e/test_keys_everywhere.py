"""Keys of two gateways on one Redis: made here, good there at once; revoked here, refused there within a second."""

import asyncio
import time

import httpx2
import pytest

from tests.support.redis import RedisServer
from tests.support.relay import relayed
from tests.support.servers import Emulators, Gateway, Gateways
from tests.support.waiting import eventually

ADMIN = {"authorization": "Bearer admin-key-of-the-tests"}
ENV = {"ANDANTE_AUTH__ADMIN_KEY": "admin-key-of-the-tests"}
AT_ONCE_S = 0.5
REFUSED_S = 1.0


async def make_key(house: Gateway) -> tuple[str, str]:
    """Its id and its secret."""
    async with httpx2.AsyncClient(base_url=house.url, headers=ADMIN, trust_env=False) as http:
        answer = (await http.post("/admin/keys", json={"name": "everywhere"})).raise_for_status().json()
    return answer["id"], answer["secret"]


async def revoke(house: Gateway, key_id: str) -> None:
    async with httpx2.AsyncClient(base_url=house.url, headers=ADMIN, trust_env=False) as http:
        (await http.post(f"/admin/keys/{key_id}/revoke")).raise_for_status()


async def until(house: Gateway, secret: str, status: int, timeout: float = 5.0) -> float:
    """Seconds until the gateway answers so."""
    begun = time.monotonic()
    async with httpx2.AsyncClient(base_url=house.url, trust_env=False) as http:

        async def so() -> bool:
            answer = await http.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
            return answer.status_code == status

        await eventually(so, timeout=timeout, interval=0.002)
    return time.monotonic() - begun


@pytest.fixture
async def pair(emulator: Emulators, gateway: Gateways, redis: RedisServer) -> list[Gateway]:
    engine = await asyncio.to_thread(emulator)
    return [await asyncio.to_thread(gateway, [engine], redis={"url": redis.url}, env=ENV) for _ in range(2)]


async def test_made_here_good_there_revoked_there_refused_here(pair: list[Gateway]) -> None:
    """In both directions, several times; the slowest is told."""
    known, refused = [], []
    for turn in range(10):
        here, there = pair[turn % 2], pair[1 - turn % 2]
        key_id, secret = await make_key(here)
        known.append(await until(there, secret, 200))
        await revoke(there, key_id)
        refused.append(await until(here, secret, 401))
    print(f"known after {max(known):.3f} s at most, refused after {max(refused):.3f} s at most")
    assert max(known) < AT_ONCE_S
    assert max(refused) < REFUSED_S


async def test_an_empty_redis_forgets_no_revocation(pair: list[Gateway], redis: RedisServer) -> None:
    """What was revoked stays so, what was made stays good, at both."""
    gone_id, gone = await make_key(pair[0])
    _, kept = await make_key(pair[0])
    await revoke(pair[0], gone_id)
    await until(pair[1], kept, 200)
    await asyncio.to_thread(redis.flush)
    await eventually(lambda: redis.count("andante:keys:*:records") == 1, timeout=10.0)
    for house in pair:
        await until(house, kept, 200)
        await until(house, gone, 401)


async def test_a_revocation_behind_a_broken_network(emulator: Emulators, gateway: Gateways, redis: RedisServer) -> None:
    """It reaches the others within a second after the network is there again."""
    engine = await asyncio.to_thread(emulator)
    with relayed("127.0.0.1", redis.port) as relay:
        urls = [redis.url, f"redis://127.0.0.1:{relay.port}/0"]
        pair = [await asyncio.to_thread(gateway, [engine], redis={"url": url}, env=ENV) for url in urls]
        key_id, secret = await make_key(pair[0])
        await until(pair[1], secret, 200)
        relay.cut()
        await revoke(pair[1], key_id)
        await until(pair[1], secret, 401)
        await until(pair[0], secret, 200)
        relay.mend()
        assert await until(pair[0], secret, 401) < 2 * REFUSED_S
