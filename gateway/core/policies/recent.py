"""What was worked out of a job a moment ago: the gain of a stream changes slowly, and is most of what a plan costs."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from gateway.core.job import Job, JobState

HELD_S: Final = 0.25
"""How long a value may stand in for the true one, at most."""

Value = TypeVar("Value")
Made = tuple[Value, float]
"""A value, and how many seconds it holds."""


class Recent(Generic[Value]):
    """One value of each job, kept until its time is over, or the job has moved or its reader has come or gone.

    Bounded by the jobs of the last look at all of them, and those that came since.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[float, JobState, str | None, bool, Value]] = {}

    def forget(self, jobs: Sequence[Job]) -> None:
        """Keep nothing of others than these."""
        kept = self._kept
        self._kept = {job.order: kept[job.order] for job in jobs if job.order in kept}

    def of(self, jobs: Sequence[Job], now: float, make: Callable[[Job], Made[Value]]) -> list[Value]:
        """The value of each job, in this order; made anew where none holds."""
        kept, values = self._kept, []
        for job in jobs:
            entry = kept.get(job.order)
            present = job.tracker.present
            if (
                entry is None
                or entry[0] <= now
                or entry[1] is not job.state
                or entry[2] != job.engine_id
                or entry[3] is not present
            ):
                value, holds_s = make(job)
                kept[job.order] = (now + min(holds_s, HELD_S), job.state, job.engine_id, present, value)
            else:
                value = entry[4]
            values.append(value)
        return values
