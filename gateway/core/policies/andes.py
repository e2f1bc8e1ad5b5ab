"""Andes (arXiv 2404.16283): the places go to those whose quality of experience gains most for the memory they take."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from gateway.core.capacity import Outlook
from gateway.core.job import Job, JobState
from gateway.core.policies.places import Bid
from gateway.core.policies.ranked import Ranked
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
        outlooks = self.outlooks()
        bids = []
        for job in jobs:
            gain = self.gain(job, *expected(job, outlooks), floor, now)
            rank = gain / max(1, job.context_tokens)
            bids.append(Bid(rank * bonus if job.state is JobState.RUNNING else rank, gain, job))
        return bids

    def gain(self, job: Job, speed: float, delay_s: float, floor: float, now: float) -> float:
        """What being served is worth to this job over the horizon."""
        horizon = self._roster.tuning.horizon_s
        tracker = job.tracker
        if self._objective is Objective.AVERAGE:
            return tracker.gain(speed, delay_s, horizon, now)
        wait = tracker.wait(horizon, now)
        if self._objective is Objective.MAX_MIN:
            return max(0.0, floor - wait)
        served = tracker.serve(speed, delay_s, horizon, now)
        return float((served >= PERFECT) - (wait >= PERFECT)) * (tracker.qoe(now) >= PERFECT)

    def may_pause(self, bid: Bid, victims: Sequence[Bid], now: float) -> bool:
        """Besides, the bid must gain more than the victims forgo and than it costs everybody to compute them again.

        The authors' engine swaps a victim's context out and in; a gateway can only have it thrown away, and while the
        engine computes it again all who run there get nothing: a whole gain a horizon each.
        """
        return super().may_pause(bid._replace(gain=bid.gain - self._forgone(victims)), victims, now)

    def _forgone(self, victims: Sequence[Bid]) -> float:
        return sum(victim.gain for victim in victims) + self._recomputed(victims)

    def _recomputed(self, victims: Sequence[Bid]) -> float:
        """QoE that computing these again costs those who read on there."""
        fleet, horizon_s = self._roster.fleet, self._roster.tuning.horizon_s
        loads = [(victim.job, fleet[victim.job.engine_id or ""]) for victim in victims]
        return sum(load.crowd * load.recompute_s(job.context_tokens) for job, load in loads) / horizon_s

    def outlooks(self) -> dict[str | None, Outlook]:
        """What each engine has to offer now; None stands for the one that a new job would go to."""
        fleet = self._roster.fleet
        found: dict[str | None, Outlook] = {load.id: load.outlook() for load in fleet}
        roomiest = fleet.roomiest()
        found[None] = NOTHING if roomiest is None else found[roomiest.id]
        return found


def expected(job: Job, outlooks: Mapping[str | None, Outlook]) -> tuple[float, float]:
    """How fast the job would be served (units per second), and after which delay (seconds)."""
    if job.engine_id is not None:
        return outlooks[job.engine_id].speed * job.spec.units_per_token, 0.0
    there = outlooks.get(job.home) or outlooks[None]
    context = job.prompt_tokens + job.produced
    delay_s = there.resume_s(context) if job.produced else there.start_s(context)
    return there.speed * job.spec.units_per_token, delay_s


NOTHING: Final = Outlook(0.0, 0.0, 0.0, 1.0)
"""Without an engine nobody is served."""

PERFECT: Final = 1 - 1e-6
"""A QoE that counts as 1."""
