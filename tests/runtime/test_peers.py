"""Gateways vouch for each other by datagrams while the ledger does not answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from gateway.clock import ManualClock
from gateway.core.leases import Holder
from gateway.core.ledger import Ledger
from gateway.core.shares import Amount, Line
from gateway.runtime.peers import Peers, Question
from tests.support.waiting import eventually

TTL_S = 2.0
POOL = "m"


class Site:
    """Two gateways that share one engine of 8 sequences, each with a UDP port."""

    def __init__(self) -> None:
        self.clock = ManualClock(50.0)
        self.ledger = Ledger()
        self.holders = [Holder(name, TTL_S) for name in ("a", "b")]
        self.peers = [Peers({POOL: holder}, self.clock) for holder in self.holders]
        self.addresses = ["", ""]

    def sync(self) -> None:
        for holder, address in zip(self.holders, self.addresses, strict=True):
            request = holder.request(self.clock.now(), {"e": Line(whole=Amount(8))}, address=address)
            holder.answered(request, self.ledger.sync(request), self.clock.now())

    def renewed_at(self, when: float) -> bool:
        return all(holder.renewed >= when for holder in self.holders)

    def usable(self) -> list[int]:
        return [holder.usable("e", self.clock.now()).seats for holder in self.holders]


@asynccontextmanager
async def site(asking: int = 2) -> AsyncIterator[Site]:
    """All is settled, and so many of the gateways ask."""
    made = Site()
    made.addresses = [await peers.open("127.0.0.1") for peers in made.peers]
    for _ in range(12):
        made.sync()
        made.clock.advance(TTL_S / 8)
    tasks = [asyncio.create_task(peers.run()) for peers in made.peers[:asking]]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for peers in made.peers[asking:]:
        assert peers._transport is not None
        peers._transport.close()


async def test_leases_outlive_an_outage_while_all_answer() -> None:
    async with site() as here:
        before = here.usable()
        assert sum(before) == 8
        for _ in range(6):
            here.clock.advance(0.6 * TTL_S)
            await eventually(partial(here.renewed_at, here.clock.now()), what="answers")
        assert here.usable() == before


async def test_who_is_not_answered_stops() -> None:
    """The other one never saw the ledger that this one means."""
    async with site() as here:
        here.holders[1]._watches.clear()
        here.clock.advance(0.95 * TTL_S)
        await eventually(lambda: here.holders[1].renewed >= here.clock.now(), what="the other way round")
        assert here.usable()[0] == 0


async def test_what_makes_no_sense_is_dropped() -> None:
    async with site(asking=0) as here:
        host, _, port = here.addresses[0].partition(" ")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.setblocking(False)
            for data in (b"", b"{", b"\xff", msgspec.json.encode(Question(POOL, "b", "another epoch", "t"))):
                stranger.sendto(data, (host, int(port)))
            stranger.sendto(msgspec.json.encode(Question(POOL, "b", here.holders[0].epoch, "good")), (host, int(port)))
            async with asyncio.timeout(5.0):
                answer = await asyncio.get_running_loop().sock_recv(stranger, 1000)
        assert msgspec.json.decode(answer)["token"] == "good"


async def test_an_address_that_cannot_be_sent_to_is_as_one_that_is_silent() -> None:
    """Whatever the ledger says, asking goes on."""
    async with site(asking=0) as made:
        for address in ("no such host 1", "127.0.0.1 99999", "127.0.0.1 0", "\u00b2 \u00b2", ""):
            host, _, port = address.rpartition(" ")
            made.peers[0]._send(Question(POOL, "a", "e", "t"), (host, int(port) if port.isdecimal() else 0))
