"""Two gateways, one Redis: a stream of one is read, stopped and continued at the other."""

import asyncio
import time
from typing import Any

import httpx2
import pytest

from tests.e2e.test_coming_back import OPT_IN, Heard, ask, begin, come_back, read
from tests.support.raw import CHAT
from tests.support.redis import RedisServer
from tests.support.servers import Emulators, Gateway, Gateways
from tests.support.waiting import eventually

TTL_S = 1.0


@pytest.fixture
async def pair(emulator: Emulators, gateway: Gateways, redis: RedisServer) -> tuple[Any, Gateway, Gateway]:
    """An engine and two gateways in front of it; the first one's key is good at both."""
    engine = await asyncio.to_thread(emulator, speed=0.2)
    settings = {"url": redis.url, "ttl_s": TTL_S, "timeout_s": TTL_S / 2}
    first, second = [await asyncio.to_thread(gateway, [engine], redis=settings) for _ in range(2)]
    async with second.client() as http:

        async def known() -> bool:
            return (await http.get("/v1/models", headers=first.headers)).status_code == httpx2.codes.OK

        await eventually(known)
    return engine, first, second


def at(house: Gateway, key_of: Gateway) -> httpx2.AsyncClient:
    """A client of one gateway with the key of another."""
    return httpx2.AsyncClient(base_url=house.url, headers=key_of.headers, timeout=30.0, trust_env=False)


async def test_a_stream_is_read_at_the_other_gateway(pair: tuple[Any, Gateway, Gateway]) -> None:
    """From where its reader was, while it runs and when it is over; it is not parked meanwhile."""
    _, first, second = pair
    async with at(first, first) as here, at(second, first) as there:
        stayed = await begin(here, ask(1))
        heard = await begin(here, ask(1), 10)
        await come_back(there, heard)
        assert heard.done
        assert heard.text == stayed.text
        again = Heard(stream_id=heard.stream_id)
        await come_back(there, again)
        assert again.data == heard.data
        assert (await there.get("/v1/streams/" + "0" * 32)).status_code == httpx2.codes.NOT_FOUND


async def test_a_stream_is_stopped_at_the_other_gateway(pair: tuple[Any, Gateway, Gateway]) -> None:
    """For its readers at both; another key knows nothing of it."""
    engine, first, second = pair
    async with at(first, first) as here, at(second, first) as there:
        heard = await begin(here, ask(2, max_tokens=3000), 3)
        reading = asyncio.create_task(come_back(there, heard))
        await eventually(lambda: heard.last > 20)
        path = f"/v1/streams/{heard.stream_id}"
        assert (await there.delete(path, headers=second.headers)).status_code == httpx2.codes.NOT_FOUND
        assert (await there.post(f"{path}/reader", json={"visible": True})).status_code == 204
        assert (await there.delete(path)).status_code == 204
        await reading
        assert not heard.done
        await eventually(lambda: engine.running() == 0)


async def test_a_gateway_is_killed(pair: tuple[Any, Gateway, Gateway]) -> None:
    """Its streams go on at the other one, for who comes back: nothing lost, nothing twice."""
    _, first, second = pair
    async with at(first, first) as here, at(second, first) as there:
        stayed = [await begin(here, ask(number, max_tokens=200)) for number in range(3)]
        heard = [Heard() for _ in range(3)]
        readers = [
            asyncio.create_task(_begin(here, one, ask(number, max_tokens=200))) for number, one in enumerate(heard)
        ]
        await eventually(lambda: all(one.last > 20 for one in heard))
        first.process.kill()
        await asyncio.gather(*readers, return_exceptions=True)
        assert not any(one.done for one in heard)
        begun = time.monotonic()
        await asyncio.gather(*(_insist(there, one) for one in heard))
        assert [one.text for one in heard] == [one.text for one in stayed]
        assert time.monotonic() - begun < TTL_S + 2.0 + 200 / 50


async def _begin(http: httpx2.AsyncClient, heard: Heard, body: dict[str, Any]) -> None:
    await read(http, heard, 1 << 30, method="POST", url=CHAT, json=body, headers=OPT_IN)


async def _insist(http: httpx2.AsyncClient, heard: Heard) -> None:
    """Come back until it is done; a reader who is sent away comes again."""

    async def back() -> bool:
        await come_back(http, heard)
        return heard.done

    await eventually(back, timeout=20.0)
