"""What is shared out in a plan of a pausing policy: bids, the places on the engines, and how many pauses are left."""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.core.capacity import WATERMARK, EngineLoad
from gateway.core.job import Job, JobState
from gateway.core.plan import Reason

STRICTEST_RATE: Final = 10.0  # tokens/s; nobody reads faster, and one wish must not shrink everybody's batch
_CAP_WINDOW_S: Final = 600.0
_NO_LIMIT: Final = 1 << 60


class Bid(NamedTuple):
    """What a job offers for a place: its rank (larger comes first, equal ones as they were given), the gain in QoE, and
    why it would begin.

    A `firm` one is never paused. One that `holds` keeps what becomes free on its engine until it fits: smaller ones
    that rank below it do not pass.
    """

    rank: float
    gain: float
    job: Job
    begins: Reason = Reason.GAIN
    stops: Reason = Reason.AHEAD
    firm: bool = False
    holds: bool = False


@dataclass(slots=True, eq=False)
class Places:
    """One engine's room in a plan: in all, free at once, and held by legs that are being stopped (seats, tokens).

    `whole` is the memory of the idle engine; a job that needs more counts as needing that, so that it can run, alone.
    But a part of an engine must hold the whole job: one that needs more than `most` has no place.
    """

    load: EngineLoad
    whole: int
    most: int
    seats: int
    memory: int
    free_seats: int
    free_memory: int
    soon_seats: int
    soon_memory: int

    @classmethod
    def of(cls, load: EngineLoad) -> "Places":
        """Room for those who can be moved: what runs and cannot be paused is taken off."""
        kv = load.capacity.kv_tokens
        memory = whole = _NO_LIMIT if kv is None else int(WATERMARK * kv)
        most = kv if kv is not None and kv < (load.capacity.whole_tokens or 0) else _NO_LIMIT
        seats = min(load.capacity.max_running, _paced_batch(load))
        if not load.capacity.ready:
            seats, memory = 0, 0
        fixed = [job.reserved for job in load.legs.values() if not job.resumable and job.state is JobState.RUNNING]
        return cls(
            load,
            whole,
            most,
            seats - len(fixed),
            memory - sum(fixed),
            seats - len(load.legs),
            memory - load.tokens,
            len(load.stopping),
            load.stopping_tokens,
        )

    def least(self, need: int) -> int:
        """The memory that must be there for a job of this need."""
        return need if need > self.most else min(need, self.whole)

    def has(self, need: int) -> bool:
        return self.seats > 0 and (self.memory >= need or self.memory >= self.least(need))

    def take(self, need: int) -> bool:
        """Take so much if it is there."""
        if not self.has(need):
            return False
        self.claim(need)
        return True

    def claim(self, need: int) -> None:
        """Take so much, there or not."""
        self.seats -= 1
        self.memory -= need

    def free_now(self, need: int) -> bool:
        return self.free_seats > 0 and self.free_memory >= self.least(need)

    def use(self, need: int) -> None:
        """What is free first, then what is about to be."""
        self.free_seats -= 1
        self.free_memory -= need
        if self.free_seats < 0:
            self.free_seats += 1
            self.soon_seats -= 1
        if self.free_memory < 0:
            self.soon_memory += self.free_memory
            self.free_memory = 0

    def free_soon(self, need: int) -> bool:
        memory = self.free_memory + self.soon_memory
        return self.free_seats + self.soon_seats > 0 and memory >= self.least(need)


def _paced_batch(load: EngineLoad) -> int:
    """The largest batch at which the fastest reader here still gets text at its pace; at least 1."""
    rates = [job.rate for job in load.legs.values() if job.paced]
    strictest = min(STRICTEST_RATE, max(rates, default=0.0))
    if not strictest:
        return _NO_LIMIT
    mean = load.tokens / max(1, len(load.legs))
    return max(1, load.model.largest_batch(1 / strictest, mean))


def room_for_all(jobs: Collection[Job], need: Callable[[Job], int], places: Iterator[Places]) -> bool:
    """Whether there are seats and tokens for all these jobs; looks at no more engines than it takes to know."""
    seats, memory = len(jobs), 0
    for place in places:
        seats -= max(0, place.free_seats)
        memory += max(0, place.free_memory)
        if seats <= 0:
            break
    if seats > 0:
        return False
    needs = sum(map(need, jobs))
    return needs <= memory or needs <= memory + sum(max(0, place.free_memory) for place in places)


class PauseCap:
    """At most so many pauses for each arrival, on average over the last ten minutes (Andes' P)."""

    def __init__(self, cap: float) -> None:
        self._cap = cap
        self._arrivals: deque[float] = deque(maxlen=100_000)
        self._pauses: deque[float] = deque(maxlen=100_000)

    def arrived(self, now: float) -> None:
        self._arrivals.append(now)

    def paused(self, now: float) -> None:
        self._pauses.append(now)

    def allows(self, more: int, now: float) -> bool:
        """Whether so many more pauses stay within the average."""
        for times in (self._arrivals, self._pauses):
            while times and times[0] < now - _CAP_WINDOW_S:
                times.popleft()
        return len(self._pauses) + more <= self._cap * len(self._arrivals)
