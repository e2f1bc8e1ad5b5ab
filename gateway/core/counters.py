"""Who received how much: virtual token counters of the tenants of one pool (VTC, Sheng et al., OSDI'24).

Rules of this file:

1. A counter holds service divided by the tenant's weight. The policy serves the backlogged tenant with the smallest.
2. Lift (Algorithm 2): a tenant that comes while it is not backlogged is raised to the MINIMUM over the backlogged
   tenants, or, when nobody is, to the counter of the tenant that was backlogged last. So an idle share is never saved
   up, and a debt is never forgiven. Only an arrival lifts; that a paused job wants to go on is none.
3. Backlogged means: has a job that wants to run (`arrive` and `want` raise its number, `settle` lowers it).
4. A counter is the sum of two parts that travel between gateways on their own: charges add up, and of lifts (the sum
   that a tenant was ever lifted by) the largest counts. Both commute, so gateways that have heard the same deltas
   agree, in whatever order they came, and one return seen by two gateways lifts once.
5. `rebase` moves the origin to the floor: differences stay, numbers stay small. What travels does not depend on it.

Times per call: O(1) for a charge; O(log n) amortised in the backlogged tenants for the floor.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final

_REMEMBERED: Final = 5  # outputs that a prediction is the mean of (VTC, section 4.4)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one gateway tells the others: charges since its last delta, every lift's total so far, and its floor.

    The floor counts from the common origin, None while nobody is backlogged there.
    """

    charges: Mapping[str, float] = field(default_factory=dict)
    lifts: Mapping[str, float] = field(default_factory=dict)
    floor: float | None = None


@dataclass(slots=True)
class Account:
    """One tenant: its counter and weight, how many of its jobs want to run, and how many bills are open."""

    tenant: str
    weight: float = 1.0
    counter: float = 0.0
    lifted: float = 0.0
    wanting: int = 0
    since: int = 0  # order of becoming backlogged: equal counters are served in it
    open_bills: int = 0
    unsent: float = 0.0
    overhead: float = 0.0  # tokens computed again after pauses: measured, never charged
    outputs: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def predicted_output(self) -> float:
        """Mean of the last outputs (tokens); 0 for a tenant without a past."""
        return sum(self.outputs) / len(self.outputs) if self.outputs else 0.0


class Counters:
    """The accounts of one pool. ValueError for a weight that is not positive.

    Without `lifts`, who comes back keeps an old low counter: Least Counter First, for comparison.
    """

    def __init__(self, *, lifts: bool = True) -> None:
        self._lifts = lifts
        self._accounts: dict[str, Account] = {}
        self._heap: list[tuple[float, int, str]] = []  # lazily ordered: an entry may be below its counter, never above
        self._backlog: dict[str, Account] = {}
        self._last_left: str | None = None
        self._order = 0
        self._origin = 0.0
        self._lifts_unsent: set[str] = set()
        self._floors: dict[str, float] = {}  # other gateways', from the common origin

    def __repr__(self) -> str:
        return f"<Counters {len(self._accounts)} tenants, {len(self._backlog)} backlogged, floor {self.floor()}>"

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._accounts

    # ---- who wants service

    def arrive(self, tenant: str, weight: float = 1.0) -> Account:
        """A new job of this tenant wants to run; lifts the tenant if it was not backlogged."""
        if not weight > 0:
            raise ValueError("a weight must be positive")
        account = self.account(tenant)
        account.weight = weight
        if self._lifts and not account.wanting:
            floor = self._arrival_floor()
            if floor is not None and floor > account.counter:
                account.lifted += floor - account.counter
                account.counter = floor
                self._lifts_unsent.add(tenant)
        self._want(account)
        return account

    def want(self, tenant: str) -> None:
        """A job that had started wants to run again; no lift."""
        self._want(self.account(tenant))

    def settle(self, tenant: str) -> None:
        """One job less wants to run: it was selected, its reader has enough to read, or it is gone.

        ValueError when none did.
        """
        account = self.account(tenant)
        if not account.wanting:
            raise ValueError(f"no job of {tenant} wants to run")
        account.wanting -= 1
        if not account.wanting:
            del self._backlog[tenant]
            self._last_left = tenant

    def backlogged(self, tenant: str) -> bool:
        account = self._accounts.get(tenant)
        return account is not None and account.wanting > 0

    def backlog(self) -> Iterator[Account]:
        """The backlogged tenants, in the order in which they became it."""
        return iter(self._backlog.values())

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
        heap = self._heap
        while heap:
            value, since, tenant = heap[0]
            account = self._accounts.get(tenant)
            if account is None or not account.wanting or account.since != since:
                heappop(heap)
            elif account.counter != value:
                heappop(heap)
                heappush(heap, (account.counter, since, tenant))
            else:
                return tenant
        return None

    def floor(self) -> float | None:
        """The smallest counter among the backlogged tenants, other gateways' floors included; None if there is none."""
        tenant = self.smallest()
        own = None if tenant is None else self._accounts[tenant].counter
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
        amount = service / account.weight
        account.counter += amount
        account.unsent += amount
        if amount < 0 and account.wanting:
            self._push(account)

    def rebase(self) -> float:
        """Subtract the floor from every counter; returns it. Neither lags nor what is sent change; O(tenants)."""
        shift = self.floor() or 0.0
        if shift:
            self._origin += shift
            for account in self._accounts.values():
                account.counter -= shift
            self._heap = [(a.counter, a.since, a.tenant) for a in self._backlog.values()]
            heapify(self._heap)
        return shift

    def forget(self, keep: Callable[[str], bool] = lambda _tenant: False) -> list[str]:
        """Drop the accounts that an arrival would make anew as they are; returns their tenants. O(tenants).

        These are idle (no job wants to run, no bill open), at or below the floor, and not `keep`; nor is anybody
        dropped whose charges no `take_delta` has taken yet. While gateways share counters, keep whoever the shared
        store still holds: lifts are totals since the account began.
        """
        floor = self._arrival_floor()
        if floor is None:
            return []
        gone = [
            a.tenant
            for a in self._accounts.values()
            if a.counter <= floor
            and not (a.wanting or a.open_bills or a.unsent or a.tenant in self._lifts_unsent)
            and a.tenant != self._last_left
            and not keep(a.tenant)
        ]
        for tenant in gone:
            del self._accounts[tenant]
        return gone

    # ---- other gateways

    def has_delta(self) -> bool:
        """Whether anything was charged or lifted here since the last `take_delta`. O(tenants)."""
        return bool(self._lifts_unsent) or any(account.unsent for account in self._accounts.values())

    def take_delta(self) -> Delta:
        """What happened here since the last call, to be sent to the others."""
        charges = {a.tenant: a.unsent for a in self._accounts.values() if a.unsent}
        for tenant in charges:
            self._accounts[tenant].unsent = 0.0
        lifts = {tenant: self._accounts[tenant].lifted for tenant in self._lifts_unsent}
        self._lifts_unsent.clear()
        first = self.smallest()
        floor = None if first is None else self._accounts[first].counter + self._origin
        return Delta(charges, lifts, floor)

    def snapshot(self) -> Delta:
        """All that was sent and heard so far, for a gateway that begins: merged there, it makes the same counters."""
        accounts = self._accounts.values()
        charges = {a.tenant: a.counter + self._origin - a.lifted - a.unsent for a in accounts}
        return Delta(charges, {a.tenant: a.lifted for a in accounts})

    def put_back(self, delta: Delta) -> None:
        """The delta could not be sent: it goes out with the next one."""
        for tenant, amount in delta.charges.items():
            self.account(tenant).unsent += amount
        self._lifts_unsent.update(delta.lifts)

    def merge(self, source: str, delta: Delta) -> None:
        """Another gateway's delta. Charges and lifts commute; of a source's floors the one merged last counts."""
        for tenant, amount in delta.charges.items():
            account = self.account(tenant)
            account.counter += amount
            if amount < 0 and account.wanting:
                self._push(account)
        for tenant, lifted in delta.lifts.items():
            account = self.account(tenant)
            if lifted > account.lifted:
                account.counter += lifted - account.lifted
                account.lifted = lifted
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

    def _want(self, account: Account) -> None:
        account.wanting += 1
        if account.wanting == 1:
            self._order += 1
            account.since = self._order
            self._backlog[account.tenant] = account
            self._push(account)

    def _push(self, account: Account) -> None:
        heappush(self._heap, (account.counter, account.since, account.tenant))
        if len(self._heap) > 64 + 4 * len(self._backlog):
            # Refunds leave entries behind; each backlogged tenant needs one.
            self._heap = [(a.counter, a.since, a.tenant) for a in self._backlog.values()]
            heapify(self._heap)
