"""What was worked out of a job a moment ago: the gain of a stream changes slowly, and is most of what a plan costs."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from gateway.core.job import Job, JobState

_HELD_S: Final = 0.25  # how long a value may stand in for the true one

Value = TypeVar("Value")
Entry = tuple[Value, float, JobState, str | None, bool, bool]
"""A value, until when it holds, and as what the job was seen: state and engine, whether it had a reader and text."""


class Recent(Generic[Value]):
    """One value of each job, kept for a moment, unless the job has moved, has begun, or its reader has come or gone.

    Bounded by the jobs of the last look at all of them, and those that came since.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Entry[Value]] = {}

    def forget(self, jobs: Sequence[Job]) -> None:
        """Keep nothing of others than these."""
        kept = self._kept
        self._kept = {job.order: kept[job.order] for job in jobs if job.order in kept}

    def of(self, jobs: Sequence[Job], now: float, make: Callable[[Job], Value]) -> list[Value]:
        """The value of each job, in this order; made anew where none holds."""
        kept, values, until = self._kept, [], now + _HELD_S
        for job in jobs:
            entry = kept.get(job.order)
            present, begun = job.tracker.present, job.produced > 0
            if (
                entry is None
                or entry[1] <= now
                or entry[2] is not job.state
                or entry[3] != job.engine_id
                or entry[4] is not present
                or entry[5] is not begun
            ):
                entry = kept[job.order] = (make(job), until, job.state, job.engine_id, present, begun)
            values.append(entry[0])
        return values
