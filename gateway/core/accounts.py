"""What is known of one tenant in one pool, and what gateways tell each other of it.

A tenant's counter is the sum of two parts that travel on their own: charges add up, and of lifts (the sum that it was
ever lifted by) the largest counts. Both are counted within an *era*, which all gateways that share a pool count
together (`ledger.py`). Who touches a tenant for the first time in an era begins its totals anew: no charges, and its
whole counter as a lift. So nobody has to remember a tenant that was not touched for an era: whoever hears of it again
hears all. Totals of a later era replace those of an earlier one.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

_REMEMBERED: Final = 5  # outputs that a prediction is the mean of (VTC, section 4.4)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one gateway tells the others: charges since its last delta, every lift's total so far, and its floor.

    `eras`: of each tenant's totals, 0 where none is named; `begun`: whose totals begin with this delta. The floor
    counts from the common origin, None while nobody is backlogged there; `last` was backlogged there last, None if
    nobody has been since the last delta.
    """

    charges: Mapping[str, float] = field(default_factory=dict)
    lifts: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None
    eras: Mapping[str, int] = field(default_factory=dict)
    begun: tuple[str, ...] = ()
    last: str | None = None

    @property
    def tenants(self) -> Collection[str]:
        """Those of whom it tells anything."""
        return dict.fromkeys((*self.charges, *self.lifts))


@dataclass(slots=True)
class Account:
    """One tenant: its counter and weight, how many jobs it has here, how many of them want to run, its open bills.

    `billed`: what the open bills have charged (service units before the weight); `unsent`: what no delta has told yet.
    """

    tenant: str
    weight: float = 1.0
    counter: float = 0.0
    lifted: float = 0.0
    era: int = 0  # in which its totals began
    jobs: int = 0
    wanting: int = 0
    since: int = 0  # order of becoming backlogged: equal counters are served in it
    open_bills: int = 0
    billed: float = 0.0
    unsent: float = 0.0
    overhead: float = 0.0  # tokens computed again after pauses: measured, never charged
    outputs: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def predicted_output(self) -> float:
        """Mean of the last outputs (tokens); 0 for a tenant without a past."""
        return sum(self.outputs) / len(self.outputs) if self.outputs else 0.0

    @property
    def idle(self) -> bool:
        """Whether it has nothing here."""
        return not (self.jobs or self.wanting or self.open_bills)

    @property
    def least(self) -> float:
        """What the counter can still fall to by refunds."""
        return self.counter - max(0.0, self.billed) / self.weight

    def told(self, origin: float) -> float:
        """Its charges that were sent or heard; `origin` is that of the counters."""
        return self.counter + origin - self.lifted - self.unsent

    def begin(self, era: int, lifted: float, origin: float) -> None:
        """Its totals begin anew, but for what was charged here and is still to be told."""
        self.era, self.lifted = era, lifted
        self.counter = lifted + self.unsent - origin

    def hear(self, charges: float, lifted: float) -> None:
        """What others charged more, and the largest lift that they tell of."""
        self.counter += charges + max(0.0, lifted - self.lifted)
        self.lifted = max(self.lifted, lifted)


class Totals:
    """All tenants' totals, as the gateways' common store keeps them: (era, charges, lifted) by tenant.

    The store's script does the same, and the tests hold the two against each other. Who was touched neither in the
    present era nor in the one before is gone.
    """

    def __init__(self) -> None:
        self._now: dict[str, tuple[int, float, float]] = {}
        self._before: dict[str, tuple[int, float, float]] = {}

    def turn(self) -> None:
        """A new era begins."""
        self._before, self._now = self._now, {}

    def add(self, delta: Delta) -> None:
        """What a gateway tells; nothing of totals that are over, or that began unheard."""
        for tenant in delta.tenants:
            era = delta.eras.get(tenant, 0)
            known, charges, lifted = self._find(tenant)
            told = delta.lifts.get(tenant, lifted)
            if tenant in delta.begun and era > known:
                known, charges, lifted = era, 0.0, told
            if era == known:
                self._now[tenant] = era, charges + delta.charges.get(tenant, 0.0), max(lifted, told)

    def seed(self, totals: Delta) -> None:
        """What a gateway remembers: later totals replace earlier ones, of equal ones the larger sums count."""
        for tenant in totals.tenants:
            era = totals.eras.get(tenant, 0)
            charges, lifted = totals.charges.get(tenant, 0.0), totals.lifts.get(tenant, 0.0)
            known, *sums = self._find(tenant)
            if era > known:
                self._now[tenant] = era, charges, lifted
            elif era == known:
                self._now[tenant] = era, max(charges, sums[0]), max(lifted, sums[1])

    def sums(self) -> Delta:
        """Everybody's."""
        kept = {**self._before, **self._now}
        return Delta(
            {tenant: charges for tenant, (_, charges, _) in kept.items()},
            {tenant: lifted for tenant, (_, _, lifted) in kept.items()},
            eras={tenant: era for tenant, (era, _, _) in kept.items()},
        )

    def _find(self, tenant: str) -> tuple[int, float, float]:
        return self._now.get(tenant) or self._before.get(tenant) or (0, 0.0, 0.0)
