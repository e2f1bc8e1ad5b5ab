"""Who received how much: virtual token counters of the tenants of one pool (VTC, Sheng et al., OSDI'24).

Rules of this file:

1. A counter holds service divided by the tenant's weight. The policy serves the backlogged tenant with the smallest.
2. Lift (Algorithm 2): a tenant that comes while it is not backlogged is raised to the MINIMUM over the backlogged
   tenants, or, when nobody is, to the counter of the tenant that was backlogged last. So an idle share is never saved
   up, and a debt is never forgiven. Only an arrival lifts; that a paused job wants to go on is none.
3. Backlogged means: has a job that wants to run (`arrive` and `want` raise its number, `settle` lowers it).
4. A counter is the sum of what travels between gateways (`accounts.py`). Within an era both parts commute, so gateways
   that have heard the same deltas agree, in whatever order they came, and one return seen by two gateways lifts once.
5. An idle tenant is forgotten once an arrival would make its account anew as it is: when its counter is not above
   anything that a floor can come down to. Who is above that is remembered. Others that share the pool may be about to
   charge it, so there it must have been untouched for a whole era besides.
6. `rebase` moves the origin to the floor: differences stay, numbers stay small. What travels does not depend on it.

Times per call: O(1) for a charge; O(log n) amortised in the backlogged tenants for the floor; forgetting is O(1)
amortised over the tenants that come.
"""

from collections.abc import Iterator
from math import inf
from typing import Final

from gateway.core.accounts import Account, Delta
from gateway.core.backlog import Backlog
from gateway.core.telling import Telling

_REBASE_AT: Final = 1e12  # service units; far below where a float loses single tokens
_FEW: Final = 1024  # accounts that are worth no search for idle ones
_NOISE: Final = 1e-6  # service units


class Counters:
    """The accounts of one pool. ValueError for a weight that is not positive.

    Without `lifts`, who comes back keeps an old low counter: Least Counter First, for comparison.
    """

    def __init__(self, *, lifts: bool = True) -> None:
        self._lifts = lifts
        self._accounts: dict[str, Account] = {}
        self._present: dict[str, Account] = {}  # with jobs here
        self._backlog = Backlog()
        self._last_left: str | None = None
        self._left_here: str | None = None  # since the last delta
        self._origin = 0.0
        self._look_at = _FEW  # so many accounts are worth the next search for idle ones
        self._telling = Telling()
        self._floors: dict[str, float] = {}  # other gateways', from the common origin

    def __repr__(self) -> str:
        return f"<Counters {len(self._accounts)} tenants, {len(self._backlog)} backlogged, floor {self.floor()}>"

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._accounts

    # ---- who is here, and who wants service

    def enter(self, tenant: str) -> None:
        """The tenant has one job more here. One that nobody knows begins at the floor, whatever its job does."""
        known = tenant in self._accounts
        account = self._present[tenant] = self.account(tenant)
        account.jobs += 1
        if not known:
            self._lift(account)

    def leave(self, tenant: str) -> None:
        """One job less is here."""
        account = self._present[tenant]
        account.jobs -= 1
        if not account.jobs:
            del self._present[tenant]

    def present(self) -> Iterator[Account]:
        """The tenants that have jobs here."""
        return iter(self._present.values())

    def arrive(self, tenant: str, weight: float = 1.0) -> Account:
        """A new job of this tenant wants to run; lifts the tenant if it was not backlogged."""
        if not weight > 0:
            raise ValueError("a weight must be positive")
        account = self.account(tenant)
        account.weight = weight
        if not account.wanting:
            self._lift(account)
        self.want(tenant)
        return account

    def want(self, tenant: str) -> None:
        """A job that had started wants to run again; no lift."""
        account = self.account(tenant)
        account.wanting += 1
        if account.wanting == 1:
            self._backlog.join(account)

    def settle(self, tenant: str) -> None:
        """One job less wants to run: selected, gone, or its reader has enough. ValueError when none did."""
        account = self.account(tenant)
        if not account.wanting:
            raise ValueError(f"no job of {tenant} wants to run")
        account.wanting -= 1
        if not account.wanting:
            self._backlog.leave(account)
            self._last_left = self._left_here = tenant

    def backlogged(self, tenant: str) -> bool:
        account = self._accounts.get(tenant)
        return account is not None and account.wanting > 0

    def backlog(self) -> Iterator[Account]:
        """The backlogged tenants, in the order in which they became it."""
        return iter(self._backlog)

    @property
    def backlogged_tenants(self) -> int:
        return len(self._backlog)

    # ---- counters

    def account(self, tenant: str) -> Account:
        """The tenant's account, made if there is none (at the common origin: an arrival lifts it to the floor)."""
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = Account(tenant, counter=-self._origin)
        return account

    def smallest(self) -> str | None:
        """The backlogged tenant whose turn it is: smallest counter, then who has been backlogged longest."""
        return None if (first := self._backlog.first()) is None else first.tenant

    def floor(self) -> float | None:
        """The smallest counter among the backlogged tenants, other gateways' floors included; None if there is none."""
        first = self._backlog.first()
        own = None if first is None else first.counter
        if not self._floors:
            return own
        others = min(self._floors.values()) - self._origin
        return others if own is None else min(own, others)

    def lag(self, tenant: str) -> float:
        """How far the tenant is ahead of the floor (service units); 0 while nobody is backlogged."""
        floor = self.floor()
        return 0.0 if floor is None else self.account(tenant).counter - floor

    def charge(self, account: Account, service: float) -> None:
        """Add service (units before the weight); negative for a refund."""
        amount, before = service / account.weight, account.counter
        account.counter += amount
        account.unsent += amount
        self._telling.changed(account)
        self._backlog.moved(account, before)

    def rebase(self) -> float:
        """Subtract the floor from every counter; returns it. Neither lags nor what is sent change; O(tenants)."""
        shift = self.floor() or 0.0
        if shift:
            self._origin += shift
            for account in self._accounts.values():
                account.counter -= shift
            self._backlog.reorder()
        return shift

    def tidy(self) -> None:
        """Rebase and forget where it is time for that. Call it while nobody holds an idle tenant's account."""
        if abs(self.floor() or 0.0) > _REBASE_AT:
            self.rebase()
        if len(self._accounts) >= self._look_at:
            self.forget()
            self._look_at = max(_FEW, 2 * len(self._accounts))

    def forget(self) -> list[str]:
        """Drop the accounts that an arrival would make anew as they are; returns their tenants. O(tenants).

        What their last outputs were is lost: a prediction begins anew. Without lifts nobody is ever dropped.
        """
        gone = [account.tenant for account in self._dispensable(self._telling.counts_from)]
        for tenant in gone:
            del self._accounts[tenant]
            self._telling.drop(tenant)
        return gone

    # ---- other gateways

    def begin_era(self, era: int) -> None:
        """The gateways that share the pool count this era now; an earlier one changes nothing. O(tenants)."""
        if era > self._telling.era:
            dispensable = {account.tenant for account in self._dispensable(inf)}
            self._telling.begin_era(era, (a for t, a in self._accounts.items() if t not in dispensable))

    def has_delta(self) -> bool:
        """Whether there is anything to tell that no `take_delta` has told."""
        return self._telling.pending

    def take_delta(self) -> Delta:
        """What happened here since the last call, to be sent to the others."""
        first, last, self._left_here = self._backlog.first(), self._left_here, None
        return self._telling.take(self._origin, None if first is None else first.counter + self._origin, last)

    def snapshot(self) -> Delta:
        """The totals of all that was sent and heard so far; `correct` makes the same counters of them elsewhere."""
        accounts = self._accounts.values()
        return Delta(
            {a.tenant: a.told(self._origin) for a in accounts},
            {a.tenant: a.lifted for a in accounts},
            eras={a.tenant: a.era for a in accounts if a.era},
        )

    def correct(self, totals: Delta) -> None:
        """The totals of all that was sent by anybody, by this gateway too: what was not heard is made up for."""
        self._telling.shared = True
        for tenant in totals.tenants:
            account, era, lifted = self.account(tenant), totals.eras.get(tenant, 0), totals.lifts.get(tenant, 0.0)
            before = account.counter
            if era > account.era:
                account.begin(era, lifted, self._origin)
            if era == account.era:
                missing = totals.charges.get(tenant, 0.0) - account.told(self._origin)
                account.hear(missing if abs(missing) > _NOISE else 0.0, lifted)
            self._backlog.moved(account, before)

    def merge(self, source: str, delta: Delta) -> None:
        """Another gateway's delta. Charges and lifts commute; of a source's floors the one merged last counts.

        What belongs to totals that are over, or whose beginning was not heard, changes nothing.
        """
        self._telling.shared = True
        begun = frozenset(delta.begun)
        for tenant in delta.tenants:
            era = delta.eras.get(tenant, 0)
            if era and tenant not in begun and tenant not in self._accounts:
                continue
            account = self.account(tenant)
            before = account.counter
            if era > account.era and tenant in begun:
                account.begin(era, delta.lifts[tenant], self._origin)
            if era == account.era:
                account.hear(delta.charges.get(tenant, 0.0), delta.lifts.get(tenant, account.lifted))
            self._backlog.moved(account, before)
        if delta.last in self._accounts:
            self._last_left = delta.last
        if delta.floor is None:
            self._floors.pop(source, None)
        else:
            self._floors[source] = delta.floor

    def lost(self, source: str) -> None:
        """Another gateway is gone: its floor holds nobody down any more."""
        self._floors.pop(source, None)

    # ---- inside

    def _arrival_floor(self) -> float | None:
        floor = self.floor()
        if floor is None and self._last_left is not None:
            floor = self._accounts[self._last_left].counter
        return floor

    def _lift(self, account: Account) -> None:
        if not self._lifts:
            return
        floor = self._arrival_floor()
        if floor is None and self._telling.era:  # whom the others have forgotten was below all that they tell of
            floor = min((a.counter for a in self._accounts.values() if a is not account), default=None)
        if floor is not None and floor > account.counter:
            account.lifted += floor - account.counter
            account.counter = floor
            self._telling.changed(account, lifted=True)

    def _dispensable(self, before: float) -> list[Account]:
        """The idle tenants, last touched before this era, that are not above anything that a floor may ever be."""
        floor = self._arrival_floor() if self._lifts else None
        if floor is None:
            return []
        idle = []
        for account in self._accounts.values():
            if account.idle and account.era < before and account.tenant != self._last_left:
                idle.append(account)
            else:
                floor = min(floor, account.least)
        return [account for account in idle if account.counter <= floor]
