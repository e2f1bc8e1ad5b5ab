"""Several simulated gateways: one ledger, their leases and what they tell each other, by the gateway's own code.

A gateway hears of the others' charges, and writes its line into the ledger, once in every round. What is lost or late
beyond that is not simulated; `tests/core/test_leases.py` does it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from gateway.core.accounts import Delta
from gateway.core.capacity import EngineCapacity
from gateway.core.ledger import Ledger, Reply, Request
from gateway.core.shares import NO_PART
from gateway.emulator.profiles import Profile
from loadgen.simulator.setup import Gateway, capacity_of

_WEIGHED_EVERY: Final = 97  # exchanges: weighing takes longer than an exchange, and this number meets all gateways


@dataclass(slots=True)
class Traffic:
    """What the gateways told each other: exchanges, charges and lifts in them, and the bytes of those that were
    weighed, one in so many, as JSON like in the store: the request, what is told to all others, the answer."""

    exchanges: int = 0
    deltas: int = 0
    weighed: int = 0
    request_bytes: int = 0
    told_bytes: int = 0
    answer_bytes: int = 0

    def exchanged(self, request: Request, reply: Reply, told: Delta) -> None:
        """One gateway's exchange."""
        self.exchanges += 1
        self.deltas += len(told.charges) + len(told.lifts)
        if self.exchanges % _WEIGHED_EVERY == 0:
            self.weighed += 1
            self.request_bytes += _size(request)
            self.told_bytes += _size(told)
            self.answer_bytes += _size(reply)


def _size(what: Any) -> int:
    return len(msgspec.json.encode(what))


class Sharing:
    """The engines, whole, and who holds how much of them. A lone gateway holds everything, without a ledger."""

    def __init__(self, gateways: Sequence[Gateway], lease_s: float) -> None:
        self._gateways = gateways
        self._lease_s = lease_s
        self._ledger = Ledger()
        self._wholes: dict[str, EngineCapacity] = {}
        self.traffic = Traffic()

    def offer(self, engines: Mapping[str, Profile], now: float) -> None:
        """The engines are there from now on; at the beginning of the run the ledger has been settled for long."""
        for engine_id, profile in engines.items():
            whole = self._wholes[engine_id] = capacity_of(profile, ready=True)
            for gateway in self._gateways:
                gateway.parts[engine_id] = NO_PART
                part = whole if len(self._gateways) == 1 else whole.shared(*NO_PART)
                gateway.scheduler.engine(engine_id, part, now)
        if len(self._gateways) > 1:
            self._settle(now)

    def withdraw(self, engine_id: str, now: float) -> None:
        """The engine gets nothing new."""
        whole = self._wholes[engine_id] = replace(self._wholes[engine_id], ready=False)
        for gateway in self._gateways:
            gateway.parts.pop(engine_id)
            gateway.scheduler.engine(engine_id, whole, now)

    def round(self, now: float) -> None:
        """Deltas go out, then everybody writes its line and learns what it holds."""
        deltas = [gateway.scheduler.counters.take_delta() for gateway in self._gateways]
        # Charges commute: one sum for all, less its own for each, costs gateways x tenants and no square of gateways.
        charges: dict[str, float] = {}
        lifts: dict[str, float] = {}
        for delta in deltas:
            for tenant, amount in delta.charges.items():
                charges[tenant] = charges.get(tenant, 0.0) + amount
            for tenant, lifted in delta.lifts.items():
                lifts[tenant] = max(lifted, lifts.get(tenant, 0.0))
        for gateway, own in zip(self._gateways, deltas, strict=True):
            counters = gateway.scheduler.counters
            others = {tenant: total - own.charges.get(tenant, 0.0) for tenant, total in charges.items()}
            counters.merge("", Delta(others, lifts))
            for other, delta in zip(self._gateways, deltas, strict=True):
                if other is not gateway:
                    counters.merge(str(other.number), Delta(floor=delta.floor, last=delta.last))
        for gateway, own in zip(self._gateways, deltas, strict=True):
            self.traffic.exchanged(*self._sync(gateway, now), own)

    def _settle(self, now: float) -> None:
        """As it is after a while without load: everybody has been answered, and holds an equal part."""
        for at in (now - 2 * self._lease_s, now, now, now, now):
            for gateway in self._gateways:
                self._sync(gateway, at)

    def _sync(self, gateway: Gateway, now: float) -> tuple[Request, Reply]:
        request = gateway.holder.request(now, gateway.scheduler.lines(self._wholes))
        reply = self._ledger.sync(request)
        gateway.holder.answered(request, reply, now)
        for engine_id, whole in self._wholes.items():
            held = gateway.holder.part(engine_id, now)
            if gateway.parts.get(engine_id) != held:
                gateway.parts[engine_id] = held
                gateway.scheduler.engine(engine_id, whole.shared(*held), now)
        return request, reply
