"""Joins what gateways need to share engines: leases, counters, engines' health and records, for every pool."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from gateway.clock import Clock
from gateway.config import Redis
from gateway.core.leases import Holder
from gateway.engines.base import Engine, EngineSettings
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.instrument import Instrument
from gateway.runtime.peers import Peers
from gateway.runtime.registry import Registry
from gateway.runtime.sharing import Sharing
from gateway.stores.redis_share import RedisShare
from gateway.wiring_redis import Shared

RETRY_S: Final = 1.0


class SharedEngines:
    """All pools of a gateway that is not alone. `run` beside the dispatcher; `leave` once nothing runs any more."""

    def __init__(self, sharings: Sequence[Sharing], peers: Peers, stores: Shared, url: str) -> None:
        self.sharings = sharings
        self._exchange = stores.exchange
        self._peers = peers
        self._link = stores.link
        self._url = url

    async def run(self) -> None:
        """Share until cancelled, from when Redis was there for the first time: only then its name can be resolved."""
        await self._link.wait()
        address = await self._peers.open(await self._own_address())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._peers.run())
            for sharing in self.sharings:
                sharing.address = address
                group.create_task(sharing.run())
                group.create_task(sharing.mourn())

    async def _own_address(self) -> str:
        while True:
            try:
                return await asyncio.to_thread(own_address, self._url)
            except OSError:  # the name's server is away just now
                await asyncio.sleep(RETRY_S)

    async def hand_over(self, dispatcher: Dispatcher) -> None:
        """Take no new jobs, and let the other gateways, if there are any, go on with the resumable streams."""
        dispatcher.draining = True
        await self._exchange.hand_over()

    async def leave(self) -> None:
        """Give all engines back."""
        for sharing in self.sharings:
            await sharing.leave()


def share_engines(
    stores: Shared,
    config: Redis,
    dispatcher: Dispatcher,
    clock: Clock,
    instrument: Instrument,
    make: Callable[[EngineSettings], Engine],
) -> SharedEngines:
    """Share the engines of all pools. Call before the link runs and before the dispatcher starts."""
    sharings = []
    for pool in dispatcher.pools:
        holder = Holder(stores.heartbeat.id, config.ttl_s)
        registry = Registry(pool, holder, clock, make, partial(dispatcher.drain_engine, pool))
        store = RedisShare(stores.link, pool.settings.model)
        sharings.append(Sharing(holder, pool, store, registry, clock, instrument))
    holders = {each.pool.settings.model: each.holder for each in sharings}
    return SharedEngines(sharings, Peers(holders, clock), stores, config.url or "")


def own_address(url: str) -> str:
    """The address of ours by which Redis, and so the other gateways, can be reached; the loopback for a socket file.
    OSError while the name cannot be resolved."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or not parts.hostname:
        return "127.0.0.1"
    family, kind, _, _, address = socket.getaddrinfo(parts.hostname, parts.port or 6379, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # sends nothing: it only picks the way
        return str(probe.getsockname()[0])
