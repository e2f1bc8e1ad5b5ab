"""What gateways share, in one process: the twin of the Redis store, for tests."""

from collections.abc import Callable, Mapping

from gateway.core.accounts import Delta
from gateway.core.ledger import Ledger, Reply, Request
from gateway.core.shares import Amount
from gateway.stores.share import EngineRecord, Message, Sums


class MemoryShare:
    """One pool's; every gateway of the process uses the same."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._charges: dict[str, float] = {}
        self._lifts: dict[str, float] = {}
        self._numbers: dict[str, int] = {}
        self._engines: dict[str, EngineRecord] = {}
        self.available = True
        self._hearers: dict[str, tuple[Callable[[Message], None], Callable[[], None]]] = {}

    async def exchange(self, request: Request, message: Message | None) -> Reply:
        before = self._held(request.me)
        reply = self._ledger.sync(request)
        if message is not None and not reply.late and message.number > self._numbers.get(message.source, 0):
            for tenant, amount in message.delta.charges.items():
                self._charges[tenant] = self._charges.get(tenant, 0.0) + amount
            _raise(self._lifts, message.delta.lifts)
            self._numbers[message.source] = message.number
            self._engines |= message.engines
            for hear, _ in self._others(request.me):
                hear(message)
        after = self._held(request.me)
        if before != after or any(after.get(name) != entry.ask for name, entry in request.entries.items()):
            for _, moved in self._others(request.me):
                moved()
        return reply

    async def sums(self) -> Sums:
        return Sums(dict(self._charges), dict(self._lifts), dict(self._numbers), dict(self._engines))

    async def seed(self, delta: Delta) -> None:
        _raise(self._charges, delta.charges)
        _raise(self._lifts, delta.lifts)

    def hear(self, me: str, message: Callable[[Message], None], moved: Callable[[], None]) -> None:
        self._hearers[me] = (message, moved)

    def _others(self, me: str) -> list[tuple[Callable[[Message], None], Callable[[], None]]]:
        return [each for name, each in self._hearers.items() if name != me]

    def _held(self, me: str) -> dict[str, Amount]:
        return {name: lines[me].held for name, lines in self._ledger.lines.items() if me in lines}


def _raise(sums: dict[str, float], amounts: Mapping[str, float]) -> None:
    for tenant, amount in amounts.items():
        sums[tenant] = max(amount, sums.get(tenant, amount))
