"""Lowest QoE served first: whoever has the worst experience so far gets a place, whatever it takes."""

from collections.abc import Sequence

from gateway.core.job import Job, JobState
from gateway.core.policies.places import Bid
from gateway.core.policies.ranked import Ranked
from gateway.core.roster import Roster


class Lqsf(Ranked):
    """The baseline of the Andes paper; blind to memory and to what a preemption costs."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster, refines=False)

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        bonus = self._roster.tuning.hysteresis
        bids = []
        for job in sorted(jobs, key=lambda job: job.order):
            need = 1 - job.tracker.qoe(now)
            rank = need * (1 + bonus) if job.state is JobState.RUNNING else need
            bids.append(Bid(rank, need, job))
        return bids
