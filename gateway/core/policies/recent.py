"""What was worked out of a job a moment ago: the gain of a stream changes slowly, and is most of what a plan costs."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from gateway.core.job import Job, JobState

_HELD_S: Final = 0.5  # how long a value may stand in for the true one

Value = TypeVar("Value")
Entry = tuple[Value, float, JobState, str | None, bool, bool]
"""A value, until when it holds, and as what the job was seen: state and engine, whether it had a reader and text."""


class Recent(Generic[Value]):
    """One value of each job, kept for a moment, unless the job has moved, has begun, or its reader has come or gone.

    `make` tells besides when its value stops to hold, if that is sooner. Bounded by the jobs of the last look at all of
    them, and those that came since.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Entry[Value]] = {}

    def forget(self) -> None:
        """Keep nothing: all values have changed."""
        self._kept.clear()

    def drop(self, job: Job) -> None:
        """What is kept of this one is no longer true."""
        self._kept.pop(job.order, None)

    def keep(self, jobs: Sequence[Job]) -> None:
        """Keep nothing of others than these."""
        kept = self._kept
        self._kept = {job.order: kept[job.order] for job in jobs if job.order in kept}

    def of(self, jobs: Sequence[Job], now: float, make: Callable[[Job], tuple[Value, float]]) -> list[Value]:
        """The value of each job, in this order; made anew where none holds."""
        kept, values = self._kept, []
        for job in jobs:
            entry = kept.get(job.order)
            if (
                entry is None
                or entry[1] <= now
                or entry[2] is not job.state
                or entry[3] != job.engine_id
                or entry[4] is not job.tracker.present
                or entry[5] is not (job.produced > 0)
            ):
                value, until = make(job)
                until = min(until, now + _HELD_S)
                entry = (value, until, job.state, job.engine_id, job.tracker.present, job.produced > 0)
                kept[job.order] = entry
            values.append(entry[0])
        return values
