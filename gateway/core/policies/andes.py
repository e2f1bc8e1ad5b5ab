"""Andes (arXiv 2404.16283): the places go to those whose quality of experience gains most for the memory they take."""

from collections.abc import Sequence
from enum import StrEnum

from gateway.core.job import Job, JobState
from gateway.core.policies.ranked import Bid, Ranked
from gateway.core.roster import Roster


class Objective(StrEnum):
    """What is maximised (Andes, appendix A)."""

    AVERAGE = "average"  # the sum of QoE
    MAX_MIN = "max_min"  # the worst QoE
    PERFECT = "perfect"  # how many have QoE 1


class Andes(Ranked):
    """Ranks by gain/length at the speed of a full batch; running jobs get a little more, against thrashing."""

    def __init__(
        self, roster: Roster, *, objective: Objective = Objective.AVERAGE, refines: bool = True, capped: bool = True
    ) -> None:
        super().__init__(roster, refines=refines, capped=capped)
        self._objective = objective

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        floor = 0.0
        if self._objective is Objective.MAX_MIN:
            floor = min((job.tracker.qoe(now) for job in jobs), default=0.0)
        bonus = 1 + self._roster.tuning.hysteresis
        bids = []
        for job in jobs:
            gain = self.gain(job, floor, now)
            rank = gain / job.context_tokens
            bids.append(Bid((rank * bonus if job.state is JobState.RUNNING else rank,), gain, job))
        return bids

    def gain(self, job: Job, floor: float, now: float) -> float:
        """What being served is worth to this job over the horizon."""
        horizon = self._roster.tuning.horizon_s
        speed, delay_s = self.service(job)
        tracker = job.tracker
        if self._objective is Objective.AVERAGE:
            return tracker.gain(speed, delay_s, horizon, now)
        wait = tracker.wait(horizon, now)
        if self._objective is Objective.MAX_MIN:
            return max(0.0, floor - wait)
        served = tracker.serve(speed, delay_s, horizon, now)
        return float((served >= PERFECT) - (wait >= PERFECT)) * (tracker.qoe(now) >= PERFECT)

    def service(self, job: Job) -> tuple[float, float]:
        """How fast the job would be served (units per second), and after which delay."""
        load = self._roster.likely_engine(job)
        if load is None:
            return 0.0, 0.0
        speed = load.full_speed * job.spec.units_per_token
        if job.engine_id is not None:
            return speed, 0.0
        return speed, load.first_token_s(job.context_tokens) if job.fresh else load.resume_s(job.context_tokens)


PERFECT = 1 - 1e-6
"""A QoE that counts as 1."""
