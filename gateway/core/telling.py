"""What one gateway has yet to tell the others of its tenants, and whom it may not forget as they count on it."""

from collections.abc import Iterable
from math import inf
from typing import Final

from gateway.core.accounts import Account, Delta

_TOLD_AGAIN: Final = 100  # accounts in one delta that nobody has touched


class Telling:
    """Begins with nothing told and nobody to tell (`shared` is False)."""

    def __init__(self) -> None:
        self.shared = False
        self.era = 0
        self._changed: dict[str, Account] = {}
        self._lifted: set[str] = set()
        self._untold: list[Account] = []

    @property
    def pending(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._changed or self._untold)

    def changed(self, account: Account, *, lifted: bool = False) -> None:
        """It was charged, or lifted."""
        self._changed[account.tenant] = account
        if lifted:
            self._lifted.add(account.tenant)

    def drop(self, tenant: str) -> None:
        """The tenant is forgotten."""
        self._changed.pop(tenant, None)
        self._lifted.discard(tenant)

    @property
    def counts_from(self) -> float:
        """Accounts of this era and later ones may be charged elsewhere as known here: none if nobody was told any."""
        return self.era - 1 if self.shared else inf

    def begin_era(self, era: int, kept: Iterable[Account]) -> None:
        """A new era: these accounts are told of again, whoever does so first, lest the common store forget them."""
        self.era = era
        self._untold = list(kept)

    def take(self, origin: float, floor: float | None, last: str | None) -> Delta:
        """All that there is to tell, and some of those that are told of again; `origin` is that of the counters."""
        self.shared = True
        for account in (self._untold.pop() for _ in range(min(_TOLD_AGAIN, len(self._untold)))):
            if account.era < self.era:
                self._changed[account.tenant] = account
        changed, self._changed = self._changed, {}
        begun = [account for account in changed.values() if account.era < self.era]
        for account in begun:
            account.era, account.lifted = self.era, account.counter + origin - account.unsent
        lifted = self._lifted.union(account.tenant for account in begun)
        self._lifted = set()
        charges = {tenant: account.unsent for tenant, account in changed.items() if account.unsent}
        for account in changed.values():
            account.unsent = 0.0
        return Delta(
            charges,
            {tenant: account.lifted for tenant, account in changed.items() if tenant in lifted},
            floor,
            {tenant: account.era for tenant, account in changed.items() if account.era},
            tuple(account.tenant for account in begun),
            last,
        )
