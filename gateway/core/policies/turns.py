"""Whose turn it is: tenants in steps of phi, and how much engine time pauses may cost."""

from typing import Final

from gateway.core.roster import Roster

_FAR: Final = 1e9  # steps; no tenant needs more to be last
_LATE_DOWN: Final = 0.5  # of a step: who has come down so far below its step leaves it, so that tenants settle


class Steps:
    """How far ahead each tenant is, in steps of phi = `slack_s` * the pool's service rate / backlogged tenants."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._phi = 1.0

    def sort(self, roster: Roster, now: float) -> None:
        """Bring the steps of the tenants that have jobs up to date. A tenant without jobs has none."""
        counters = roster.counters
        floor, backlogged = counters.floor(), counters.backlogged_tenants
        if floor is None or not backlogged:
            self._steps.clear()
            return
        self._phi = max(1.0, roster.tuning.slack_s * roster.service.read(now) / backlogged)
        steps, self._steps = self._steps, {}
        for account in counters.present():
            lead, step = (account.counter - floor) / self._phi, steps.get(account.tenant, 0)
            if lead > step + 1:
                step = int(min(lead, _FAR))
            elif lead < step - _LATE_DOWN:
                step = max(0, int(lead + _LATE_DOWN))
            if step:
                self._steps[account.tenant] = step

    def after(self, tenant: str, service: float, *, runs: bool) -> int:
        """The tenant's step once it has got so much more service; what runs leaves its step later."""
        step = self._steps.get(tenant, 0)
        more = service / self._phi - (_LATE_DOWN if runs else 0.0)
        return step if more < 1 else step + int(min(more, _FAR))


class Allowance:
    """Engine seconds that may go into computing again what pauses threw away, saved up for at most `saved_s`."""

    def __init__(self, share: float, saved_s: float) -> None:
        self._share = share
        self._saved_s = saved_s
        self._saved: float | None = None
        self._most = 0.0
        self._at = 0.0

    def earn(self, engines: float, now: float) -> None:
        """So many engines, or parts of them, have gone on until now."""
        most = self._most = self._share * engines * self._saved_s
        if self._saved is None:
            self._saved = most or None  # without an engine there is nothing to save of
        else:  # what was saved of a larger part stays
            earned = self._saved + self._share * engines * (now - self._at)
            self._saved = min(max(most, self._saved), earned)
        self._at = now

    def spend(self, cost_s: float, *, forced: bool = False) -> bool:
        """Take it if it is there; False, and nothing taken, otherwise. What is forced is owed, within bounds."""
        if self._saved is None or (cost_s > self._saved and not forced):
            return False
        self._saved = max(min(self._saved, -self._most), self._saved - cost_s)
        return True
