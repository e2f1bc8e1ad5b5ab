"""The tenants that want service, by counter: whose turn it is, in O(log n) amortised."""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from gateway.core.accounts import Account


class Backlog:
    """Accounts with jobs that want to run. A counter may rise unseen; if it may have fallen, `moved` must be called."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._heap: list[tuple[float, int, str]] = []  # lazily ordered: an entry may be below its counter, never above
        self._order = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        """In the order in which they became backlogged."""
        return iter(self._accounts.values())

    def join(self, account: Account) -> None:
        """The account has become backlogged."""
        self._order += 1
        account.since = self._order
        self._accounts[account.tenant] = account
        self._push(account)

    def leave(self, account: Account) -> None:
        """None of its jobs wants to run any more."""
        del self._accounts[account.tenant]

    def moved(self, account: Account, before: float) -> None:
        """An account's counter was `before`."""
        if account.wanting and account.counter < before:
            self._push(account)

    def reorder(self) -> None:
        """Any number of counters may have changed. O(n)."""
        self._heap = [(a.counter, a.since, a.tenant) for a in self]
        heapify(self._heap)

    def first(self) -> Account | None:
        """Whose turn it is: smallest counter, then who has been backlogged longest."""
        heap = self._heap
        while heap:
            value, since, tenant = heap[0]
            account = self._accounts.get(tenant)
            if account is None or account.since != since:
                heappop(heap)
            elif account.counter != value:
                heappop(heap)
                heappush(heap, (account.counter, since, tenant))
            else:
                return account
        return None

    def _push(self, account: Account) -> None:
        heappush(self._heap, (account.counter, account.since, account.tenant))
        if len(self._heap) > 64 + 4 * len(self._accounts):
            self.reorder()  # refunds leave entries behind; each account needs one
