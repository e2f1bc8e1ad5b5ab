"""Round robin over tenants: each in turn starts its oldest job."""

from collections import OrderedDict

from gateway.core.job import Job
from gateway.core.policies.base import InOrder
from gateway.core.policies.fcfs import ByArrival
from gateway.core.roster import Roster


class RoundRobin(InOrder):
    """A ring of the tenants that have waiting jobs; a start sends its tenant to the end of the ring.

    A tenant that begins to wait joins at the end, so one that comes and goes gains nothing.
    """

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._ring: OrderedDict[str, ByArrival] = OrderedDict()

    def push(self, job: Job) -> None:
        self._ring.setdefault(job.spec.tenant, ByArrival()).push(job)

    def take(self, job: Job) -> None:
        self.discard(job)
        if job.spec.tenant in self._ring:
            self._ring.move_to_end(job.spec.tenant)

    def discard(self, job: Job) -> None:
        queue = self._ring[job.spec.tenant]
        queue.discard(job)
        if not queue:
            del self._ring[job.spec.tenant]

    def peek(self) -> Job | None:
        for queue in self._ring.values():
            return queue.peek()
        return None
