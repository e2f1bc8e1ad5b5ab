"""What gateways share, in one process: the twin of the Redis store, for tests."""

from collections.abc import Callable

from gateway.core.accounts import Delta, Totals
from gateway.core.ledger import Ledger, Reply, Request
from gateway.core.shares import Amount
from gateway.stores.share import EngineRecord, Message, Sums


class MemoryShare:
    """One pool's; every gateway of the process uses the same."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._totals = Totals()
        self._numbers: dict[str, int] = {}
        self._numbers_before: dict[str, int] = {}
        self._engines: dict[str, EngineRecord] = {}
        self.available = True
        self._hearers: dict[str, tuple[Callable[[Message], None], Callable[[], None]]] = {}

    async def exchange(self, request: Request, message: Message | None) -> Reply:
        before, era = self._held(request.me), self._ledger.era
        reply = self._ledger.sync(request)
        if reply.era > era:
            self._totals.turn()
            self._numbers_before, self._numbers = self._numbers, {}
        if message is not None and not reply.late and message.number > self._known().get(message.source, 0):
            self._totals.add(message.delta)
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
        return Sums(self._totals.sums(), self._known(), dict(self._engines))

    async def seed(self, totals: Delta) -> None:
        self._totals.seed(totals)

    def hear(self, me: str, message: Callable[[Message], None], moved: Callable[[], None]) -> None:
        self._hearers[me] = (message, moved)

    def _others(self, me: str) -> list[tuple[Callable[[Message], None], Callable[[], None]]]:
        return [each for name, each in self._hearers.items() if name != me]

    def _known(self) -> dict[str, int]:
        return {**self._numbers_before, **self._numbers}

    def _held(self, me: str) -> dict[str, Amount]:
        return {name: lines[me].held for name, lines in self._ledger.lines.items() if me in lines}
