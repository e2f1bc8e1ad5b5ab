"""Stores of several gateways on one Redis, used by tests that know only one store and no event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gateway.core.limits import Limits, LimitState, Reservation
from gateway.errors import NotFound
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.memory import MemoryKeyStore
from gateway.stores.redis_keys import RedisKeyStore
from gateway.stores.redis_limits import RedisLimitStore
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.sqlite_keys import SqliteKeyStore
from tests.support.redis import RedisServer
from tests.support.relay import Fault, Relay
from tests.support.waiting import eventually

T = TypeVar("T")


class Tripwire:
    """Cuts the connection at a command of ours, once each time it is armed: before it arrives, then behind it, in turn.

    `cuts` counts. Beats, subscriptions and greetings pass: they are the link's own, which has tests of its own.
    """

    def __init__(self, *words: bytes) -> None:
        self.cuts = 0
        self._words = words
        self._armed = False

    def arm(self) -> None:
        """The next command that has one of the words meets its fate."""
        self._armed = True

    def __call__(self, data: bytes) -> Fault:
        if not self._armed or not any(word in data for word in self._words):
            return Fault.NONE
        self._armed = False
        self.cuts += 1
        return Fault.LOSE if self.cuts % 2 else Fault.LOSE_ANSWER


class Loop:
    """An event loop that runs only while somebody waits, with tasks that live on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Start a task that runs for ever."""
        self._tasks.append(self._loop.create_task(run()))

    def until(self, predicate: Callable[[], bool], what: str = "") -> None:
        """Run until it holds."""
        self._loop.run_until_complete(eventually(predicate, timeout=10.0, interval=0.002, what=what))

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end."""
        return self._loop.run_until_complete(coroutine)

    def close(self) -> None:
        """End the tasks."""
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class TwoKeyStores:
    """The port `KeyStore` over two gateways: what one is told, the other is asked. Each change of one must reach the
    other before the next call; with a tripwire, across a broken connection."""

    def __init__(self, loop: Loop, links: tuple[RedisLink, RedisLink], folder: Path, max_keys: int) -> None:
        sqlite = SqliteKeyStore(folder / "pair.db", max_keys=max_keys)
        self.first = RedisKeyStore(MemoryKeyStore(max_keys=max_keys), links[0], max_keys=max_keys)
        self.second = RedisKeyStore(sqlite, links[1], max_keys=max_keys)
        self.tripwire: Tripwire | None = None
        self._loop = loop
        self._turn = 0
        for link, store in zip(links, (self.first, self.second), strict=True):
            loop.spawn(link.run)
            loop.spawn(store.run)
        self._meet()

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        return self._told(lambda store: store.create(new, now=now))

    def update(self, key_id: str, changes: KeyChanges) -> ApiKey:
        return self._told(lambda store: store.update(key_id, changes))

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        return self._told(lambda store: store.rotate(key_id, now=now, grace_s=grace_s))

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        return self._told(lambda store: store.revoke(key_id, now=now))

    def list(self, *, after: str | None = None, limit: int = 100) -> Any:
        return self._asked().list(after=after, limit=limit)

    def get(self, key_id: str) -> ApiKey:
        return self._asked().get(key_id)

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        return self._asked().find(secret, now=now)

    def close(self) -> None:
        self.first.close()
        self.second.close()

    def _told(self, change: Callable[[RedisKeyStore], T]) -> T:
        self._turn += 1
        if self.tripwire is not None:
            self.tripwire.arm()
        answer = change((self.first, self.second)[self._turn % 2])
        self._meet()
        return answer

    def _asked(self) -> RedisKeyStore:
        return (self.second, self.first)[self._turn % 2]

    def _meet(self) -> None:
        self._loop.until(self._equal, "both gateways have the same keys")

    def _equal(self) -> bool:
        try:
            same = {key.id: key for key in self.first.list()} == {key.id: key for key in self.second.list()}
        except NotFound:
            return False
        return same and self.first.settled and self.second.settled


@contextmanager
def key_pair(server: RedisServer, folder: Path, max_keys: int, relay: Relay | None = None) -> Iterator[TwoKeyStores]:
    """Two gateways; with a relay their connections are cut at every change."""
    url = server.url if relay is None else f"redis://127.0.0.1:{relay.port}/0"
    loop = Loop()
    try:
        links = tuple(RedisLink(LinkSettings(url, prefix=folder.name)) for _ in range(2))
        pair = TwoKeyStores(loop, (links[0], links[1]), folder, max_keys)
        if relay is not None:
            pair.tripwire = Tripwire(b"EVALSHA", b"EVAL")
            relay.inject(pair.tripwire)
        yield pair
    finally:
        loop.close()


class TwoLimitStores:
    """The port `LimitStore` over two gateways: reservations in turn, each settled by the gateway that has it; where a
    key stands is asked of the other one, once each of them has sent its reports."""

    def __init__(self, stores: Sequence[RedisLimitStore], tripwire: Tripwire | None) -> None:
        self._stores = stores
        self._tripwire = tripwire
        self._owners: dict[int, RedisLimitStore] = {}
        self._turn = 0

    async def reserve(self, key_id: str, limits: Limits, tokens_estimate: int, *, now: float) -> Reservation:
        await self._report(key_id, now)
        store = self._next()
        reservation = await store.reserve(key_id, limits, tokens_estimate, now=now)
        self._owners[reservation.id] = store
        return reservation

    def settle(self, reservation: Reservation, used_total: int, *, now: float) -> bool:
        return self._owners[reservation.id].settle(reservation, used_total, now=now)

    def release(self, reservation: Reservation, used_total: int, *, now: float) -> None:
        self._owners[reservation.id].release(reservation, used_total, now=now)

    def take_over(self, reservation: Reservation, *, now: float) -> Reservation:
        return self._owners[reservation.id].take_over(reservation, now=now)

    def leave(self, reservation: Reservation, *, now: float) -> None:
        self._owners[reservation.id].leave(reservation, now=now)

    def cancel(self, reservation: Reservation, *, now: float) -> None:
        self._owners[reservation.id].cancel(reservation, now=now)

    async def state(self, key_id: str, limits: Limits, *, now: float) -> LimitState:
        await self._report(key_id, now)
        return await self._next().state(key_id, limits, now=now)

    async def _report(self, key_id: str, now: float) -> None:
        for store in self._stores:
            await store.report(key_id, now=now)

    def _next(self) -> RedisLimitStore:
        self._turn += 1
        if self._tripwire is not None:
            self._tripwire.arm()
        return self._stores[self._turn % 2]
