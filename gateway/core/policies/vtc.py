"""The virtual token counter (VTC, Sheng et al., OSDI'24, Algorithm 2): whose counter is smallest starts next."""

from gateway.core.job import Job
from gateway.core.policies.base import InOrder
from gateway.core.policies.fcfs import ByArrival
from gateway.core.roster import Roster


class Vtc(InOrder):
    """The backlogged tenant with the smallest counter starts its oldest job; nobody is passed over.

    With counters that do not lift this is Least Counter First, with a cashier that predicts it is VTC with length
    prediction (Algorithm 3).
    """

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._queues: dict[str, ByArrival] = {}

    def push(self, job: Job) -> None:
        self._queues.setdefault(job.spec.tenant, ByArrival()).push(job)

    def discard(self, job: Job) -> None:
        queue = self._queues[job.spec.tenant]
        queue.discard(job)
        if not queue:
            del self._queues[job.spec.tenant]

    def peek(self) -> Job | None:
        counters = self._roster.counters
        tenant = counters.smallest()
        if tenant not in self._queues:
            # Whose turn it is was set aside by this very decision: the next one.
            tenant = min(self._queues, key=lambda name: counters.account(name).counter, default=None)
        return None if tenant is None else self._queues[tenant].peek()
