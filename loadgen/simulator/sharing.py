"""Several simulated gateways: one ledger, their leases and what they tell each other, by the gateway's own code.

A gateway hears of the others' charges, and writes its line into the ledger, once in every round. What is lost or late
beyond that is not simulated; `tests/core/test_leases.py` does it.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.core.capacity import EngineCapacity
from gateway.core.ledger import Ledger
from gateway.emulator.profiles import Profile
from loadgen.simulator.setup import Gateway, capacity_of


class Sharing:
    """The engines, whole, and who holds how much of them. A lone gateway holds everything, without a ledger."""

    def __init__(self, gateways: Sequence[Gateway], lease_s: float) -> None:
        self._gateways = gateways
        self._lease_s = lease_s
        self._ledger = Ledger()
        self._wholes: dict[str, EngineCapacity] = {}

    def offer(self, engine_id: str, profile: Profile, now: float) -> None:
        """The engine is there from now on; at the beginning of the run the ledger has been settled for long."""
        whole = self._wholes[engine_id] = capacity_of(profile, ready=True)
        for gateway in self._gateways:
            part = whole if len(self._gateways) == 1 else whole.shared(0, 0)
            gateway.scheduler.engine(engine_id, part, now)
        if len(self._gateways) > 1:
            self._settle(now)

    def withdraw(self, engine_id: str, now: float) -> None:
        """The engine gets nothing new."""
        whole = self._wholes[engine_id] = replace(self._wholes[engine_id], ready=False)
        for gateway in self._gateways:
            gateway.scheduler.engine(engine_id, whole, now)

    def round(self, now: float) -> None:
        """Deltas go out, then everybody writes its line and learns what it holds."""
        for gateway in self._gateways:
            delta = gateway.scheduler.counters.take_delta()
            for other in self._gateways:
                if other is not gateway:
                    other.scheduler.counters.merge(str(gateway.number), delta)
        for gateway in self._gateways:
            self._sync(gateway, now)

    def _settle(self, now: float) -> None:
        """As it is after a while without load: everybody has been answered, and holds an equal part."""
        for at in (now - 2 * self._lease_s, now, now, now, now):
            for gateway in self._gateways:
                self._sync(gateway, at)

    def _sync(self, gateway: Gateway, now: float) -> None:
        request = gateway.holder.request(now, gateway.scheduler.lines(self._wholes))
        gateway.holder.answered(request, self._ledger.sync(request), now)
        for engine_id, whole in self._wholes.items():
            held = gateway.holder.usable(engine_id, now)
            gateway.scheduler.engine(engine_id, whole.shared(held.seats, held.tokens), now)
