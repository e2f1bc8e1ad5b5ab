"""First come, first served: the order of arrival, whoever asks."""

from heapq import heappop, heappush

from gateway.core.job import Job
from gateway.core.policies.base import InOrder
from gateway.core.roster import Roster


class ByArrival:
    """Waiting jobs, oldest first. O(log n) per change; a job discarded in the middle is skipped when it surfaces."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Job]] = []
        self._waiting: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, job: Job) -> None:
        heappush(self._heap, (job.order, job))
        self._waiting.add(job.order)

    def discard(self, job: Job) -> None:
        self._waiting.discard(job.order)
        # A mass departure would otherwise leave the heap full of the dead until a start skips them.
        if len(self._heap) > 2 * len(self._waiting) + 64:
            self._heap = sorted(entry for entry in self._heap if entry[0] in self._waiting)

    def peek(self) -> Job | None:
        while self._heap:
            order, job = self._heap[0]
            if order in self._waiting:
                return job
            heappop(self._heap)
        return None


class Fcfs(InOrder):
    """Oldest arrival first."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._queue = ByArrival()

    def push(self, job: Job) -> None:
        self._queue.push(job)

    def discard(self, job: Job) -> None:
        self._queue.discard(job)

    def peek(self) -> Job | None:
        return self._queue.peek()
