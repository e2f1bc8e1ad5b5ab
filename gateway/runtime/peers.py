"""Gateways ask each other whether they live, while the shared store does not answer (`core/leases.py`, rule 2).

One datagram asks, one answers; what is lost is asked again. Both name the ledger's epoch, which only who can read the
shared store knows, and an answer names the question. A datagram that makes no sense is dropped.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from gateway.clock import Clock
from gateway.core.leases import Holder

_ASKS: Final = 8  # rounds in a lease's time
_MOST_OPEN: Final = 1024


class Question(msgspec.Struct, tag="ask"):
    """Do you know me, and will you wait for me?"""

    pool: str
    sender: str
    epoch: str
    token: str


class Answer(msgspec.Struct, tag="yes"):
    """I do, and I will, for a lease's time from now."""

    pool: str
    sender: str
    token: str


class Peers(asyncio.DatagramProtocol):
    """The leases of all pools, by model. `open` gives the address that goes into the ledger."""

    def __init__(self, holders: dict[str, Holder], clock: Clock) -> None:
        self._holders = holders
        self._clock = clock
        self._open: dict[str, tuple[str, str, float]] = {}  # token: pool, gateway, when it was asked
        self._transport: asyncio.DatagramTransport | None = None
        self._decoder = msgspec.json.Decoder(Question | Answer)

    async def open(self, host: str) -> str:
        """Listen on a free port of this address of ours; OSError."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
        self._transport = transport
        address: Sequence[object] = transport.get_extra_info("sockname")
        return f"{address[0]} {address[1]}"

    async def run(self) -> None:
        """Ask whenever that is needed, for ever."""
        period_s = min(holder.ttl_s for holder in self._holders.values()) / _ASKS
        try:
            while True:
                for pool, holder in self._holders.items():
                    self._ask(pool, holder)
                await asyncio.sleep(period_s)
        finally:
            if self._transport is not None:
                self._transport.close()

    def _ask(self, pool: str, holder: Holder) -> None:
        now = self._clock.now()
        for name, address in holder.asks(now).items():
            token = secrets.token_hex(8)
            while len(self._open) >= _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[token] = (pool, name, now)
            host, _, port = address.rpartition(" ")
            if host and port.isdecimal() and 0 < int(port) < 65536:
                self._send(Question(pool, holder.me, holder.epoch, token), (host, int(port)))

    def _send(self, what: Question | Answer, address: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            # An address comes from the ledger, or from a datagram: one that cannot be sent to is as one that is silent.
            with suppress(ValueError, OSError):
                self._transport.sendto(msgspec.json.encode(what), address)

    # ---- what comes

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        with suppress(msgspec.DecodeError):
            heard = self._decoder.decode(data)
            if isinstance(heard, Question):
                self._answer(heard, addr)
            else:
                self._take(heard)

    def _answer(self, asked: Question, addr: tuple[str, int]) -> None:
        holder = self._holders.get(asked.pool)
        if holder is not None and holder.vouches_for(asked.sender, asked.epoch, self._clock.now()):
            self._send(Answer(asked.pool, holder.me, asked.token), addr)

    def _take(self, answer: Answer) -> None:
        asked = self._open.pop(answer.token, None)
        if asked is not None and asked[:2] == (answer.pool, answer.sender):
            self._holders[answer.pool].vouched(answer.sender, asked[2])
