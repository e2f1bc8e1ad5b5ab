"""Clients that stop reading: the gateway's memory stays bounded, and in the end they are dropped."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.support.raw import CHAT, Clients, Cut, Json, Raw, Sse
from tests.support.servers import Emulators, Engine, Gateway, Gateways
from tests.support.waiting import eventually

STALLED_S = 2.0
READERS = 5
TOKENS = 3000
# Alternatives make an event of about 2.5 kB, so that a few thousand tokens are many times what may be held.
VERBOSE: Json = {
    "messages": [{"role": "user", "content": "Tell me about the river."}],
    "temperature": 0,
    "ignore_eos": True,
    "max_tokens": TOKENS,
    "logprobs": True,
    "top_logprobs": 20,
    "stream": True,
}
SMALL_SOCKET = 4096
BOUND_KB = 6 * 1024


@dataclass
class House:
    engine: Engine
    gateway: Gateway

    def memory_kb(self) -> int:
        """The gateway's resident memory."""
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def holds(self, client: Raw) -> bool:
        """Whether the gateway has this client's connection: the kernel alone (inode 0) may send on for a while."""
        port = f":{client.writer.get_extra_info('sockname')[1]:04X}"
        _, *rows = Path(f"/proc/{self.gateway.process.pid}/net/tcp").read_text(encoding="ascii").splitlines()
        return any(row[2].endswith(port) and row[9] != "0" for row in map(str.split, rows))

    def ended(self, outcome: str) -> float:
        series = self.gateway.metrics().matching("andante_jobs_ended_total", outcome=outcome)
        return sum(sample.value for sample in series)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        engine = Emulators(stack)()
        gateways = Gateways(stack, tmp_path_factory.mktemp("house"))
        yield House(engine, gateways([engine], server={"stalled_client_s": STALLED_S}))


async def ask(house: House, clients: Clients, **fields: object) -> Raw:
    return await clients(house.gateway, {**VERBOSE, **fields}, receive_bytes=SMALL_SOCKET)


async def whole_size(house: House) -> int:
    """Bytes of one such stream, asked of the engine itself."""
    async with httpx2.AsyncClient(base_url=house.engine.url, timeout=60.0, trust_env=False, verify=False) as http:
        return len((await http.post(CHAT, json=VERBOSE)).content)


async def test_memory_is_bounded_and_the_client_is_dropped(house: House, clients: Clients) -> None:
    """Five clients read the first token and then nothing; the engine goes on to the end of what it was asked for."""
    warm = await ask(house, clients, max_tokens=5)
    await warm.sse()
    size = await whole_size(house)
    before, generated, peak = house.memory_kb(), house.engine.generated(), 0
    requests = [await ask(house, clients) for _ in range(READERS)]
    await asyncio.gather(*(request.until(1) for request in requests))

    async def dropped() -> bool:
        nonlocal peak
        peak = max(peak, await asyncio.to_thread(house.memory_kb))
        return await asyncio.to_thread(house.ended, "client_stalled") == READERS

    await eventually(dropped, timeout=STALLED_S + 20.0, interval=0.05)
    produced = house.engine.generated() - generated
    offered_kb = produced / TOKENS * size / 1024
    print(f"engine produced {offered_kb:.0f} kB, gateway grew from {before} by {peak - before} kB")
    assert offered_kb > 2 * BOUND_KB
    assert peak - before < BOUND_KB
    for request in requests:
        with pytest.raises(Cut):  # no [DONE], no proper end: it must not look like the whole answer
            await request.body()
    await eventually(lambda: house.engine.running() == 0)


async def test_a_slow_client_gets_everything(house: House, clients: Clients) -> None:
    """Who pauses for less than the patience, again and again, loses nothing and stops nobody else."""
    slow = await ask(house, clients, max_tokens=400, return_token_ids=True)
    await slow.until(1)
    quick = await ask(house, clients, max_tokens=400, return_token_ids=True)
    whole = await quick.sse()
    seen = await slow.until(100)
    rest = Sse.read(await slow.body())

    assert whole.done
    assert rest.done
    assert (len(whole.ids), rest.error) == (400, None)
    assert rest.ids == whole.ids[400 - len(rest.ids) :]
    assert len(rest.ids) <= 400 - seen.count(b'"delta":{"content"')


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_unread_answer_that_has_ended_is_dropped_too(house: House, clients: Clients, stream: bool) -> None:
    """Nobody waits for ever for a client to take the rest of what is done."""
    await eventually(lambda: house.engine.running() == 0)
    request = await ask(house, clients, stream=stream, max_tokens=2500)
    await request.head()
    assert house.holds(request)

    await eventually(lambda: not house.holds(request), timeout=STALLED_S + 20.0, interval=0.05)
    with pytest.raises((Cut, asyncio.IncompleteReadError, ConnectionError)):
        await request.body()
