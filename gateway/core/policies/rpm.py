"""A fixed number of requests a minute for each tenant, then first come, first served: the usual rate limit."""

from collections import OrderedDict, deque
from typing import Final

from gateway.core.job import JobSpec
from gateway.core.policies.fcfs import Fcfs
from gateway.core.roster import Roster
from gateway.errors import RateLimited

_WINDOW_S: Final = 60.0


class Rpm(Fcfs):
    """Refuses what exceeds `limit` accepted requests of the last minute (VTC, section 5: the baseline RPM(n))."""

    def __init__(self, roster: Roster, limit: int) -> None:
        super().__init__(roster)
        self._limit = limit
        self._accepted: OrderedDict[str, deque[float]] = OrderedDict()  # who was accepted last comes last

    def admit(self, spec: JobSpec, now: float) -> None:
        while self._accepted and now - next(iter(self._accepted.values()))[-1] >= _WINDOW_S:
            self._accepted.popitem(last=False)
        accepted = self._accepted.get(spec.tenant) or deque(maxlen=self._limit)
        if len(accepted) == self._limit and now - accepted[0] < _WINDOW_S:
            raise RateLimited(
                f"More than {self._limit} requests a minute.", retry_after_s=accepted[0] + _WINDOW_S - now
            )
        accepted.append(now)
        self._accepted[spec.tenant] = accepted
        self._accepted.move_to_end(spec.tenant)
