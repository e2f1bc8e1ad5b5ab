"""The queue's bounds: how many jobs may wait for their first start, and for how long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from gateway.core.job import Job
from gateway.errors import QueueFull, QueueShareFull


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of the waiting room.

    `max_jobs` for the pool, `max_jobs_per_tenant` for one tenant, `timeout_s` until a job that never started is
    rejected, not counting the time that it was parked.
    """

    max_jobs: int = 1000
    max_jobs_per_tenant: int = 250
    timeout_s: float = 60.0


class WaitingRoom:
    """The jobs that have produced nothing and wait for a leg. A paused job was served already and has no place here."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._by_tenant: dict[str, int] = {}
        self._deadlines: list[tuple[float, int, str]] = []  # a heap; entries of jobs that moved on are skipped

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def by_tenant(self) -> Mapping[str, int]:
        """How many of each tenant's jobs wait."""
        return self._by_tenant

    def check(self, tenant: str) -> None:
        """QueueFull or QueueShareFull when one more job of this tenant has no place."""
        if len(self._jobs) >= self._limits.max_jobs:
            raise QueueFull("The queue for this model is full.", retry_after_s=1.0)
        if self._by_tenant.get(tenant, 0) >= self._limits.max_jobs_per_tenant:
            raise QueueShareFull("Too many of your requests are waiting for this model.", retry_after_s=1.0)

    def enter(self, job: Job) -> None:
        tenant = job.spec.tenant
        self._jobs[job.spec.id] = job
        self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + 1
        heappush(self._deadlines, (self._deadline(job), job.order, job.spec.id))

    def leave(self, job: Job) -> None:
        """The job was started, or is gone; one that is not here is left alone."""
        if self._jobs.pop(job.spec.id, None) is None:
            return
        tenant = job.spec.tenant
        self._by_tenant[tenant] -= 1
        if not self._by_tenant[tenant]:
            del self._by_tenant[tenant]

    def expired(self, now: float) -> Iterator[Job]:
        """Those whose time is up; whoever asks takes each out before the next."""
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, _, job_id = heappop(self._deadlines)
            yield self._jobs[job_id]

    def next_deadline(self) -> float | None:
        """When the next one runs out of time."""
        while self._deadlines:
            deadline, order, job_id = self._deadlines[0]
            job = self._jobs.get(job_id)
            if job is not None and job.order == order and self._deadline(job) == deadline:
                return deadline
            heappop(self._deadlines)
        return None

    def _deadline(self, job: Job) -> float:
        return job.arrived + job.parked_s + self._limits.timeout_s
