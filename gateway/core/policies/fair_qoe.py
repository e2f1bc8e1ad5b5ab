"""Fair QoE, the default: places by what readers gain, between tenants that stay near each other.

One knob, the slack: `phi = slack_s * the pool's service rate / backlogged tenants`. Tenants stand in steps of phi by
how far they lead the one furthest behind, and a lower step comes first. Slack 0 serves whoever is furthest behind, an
infinite one only what readers gain. The rules, in order of precedence:

1. Due: a stream whose reader would run out of text before it could be resumed keeps or gets its place, so that nobody
   who has begun to read stalls because of a pause. Void while those who want to read together read nearly as fast as
   the pool can produce: then somebody must stall, and QoE is best served by gain alone.
2. Late: a job that waited `age_s` past its `ttft` has lost most of what it could gain and would wait for ever. Late
   jobs get `age_share` of the starts, oldest first.
3. Tenants: a lower step first. While others are ahead, the lowest step holds what becomes free, so that its large jobs
   are not passed by small ones.
4. Gain for each token of memory, as in Andes.
5. A reader who does not look gives way first, and goes on when there is room.

What pauses cost (text computed again, places that stand empty meanwhile) is bounded by `overhead`, a share of the
engines' time, saved up for bursts; a tenth of it is for gain alone. A pause that serves the tenant who is behind also
serves readers more: who asks for little is behind most of the time.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.core.capacity import Outlook
from gateway.core.job import Job, JobState
from gateway.core.plan import Reason
from gateway.core.policies.andes import Andes, expected
from gateway.core.policies.places import Bid
from gateway.core.roster import Roster

_DUE, _LATE, _NORMAL, _AWAY = 3.0, 2.0, 1.0, 0.0
_OVERLOADED: Final = 0.5  # of what the pool makes: turns cost something, so not all of it can be read
_DERATED: Final = 0.5
_RELIEVED: Final = 0.2
_HORIZONS: Final = 3.0  # of Andes' horizon: with few pauses to give, what they are worth in the long run counts
_GAIN_SHARE: Final = 0.1
_SAVED_S: Final = 60.0  # how long the allowance for recomputing can be saved up


class Steps:
    """How far ahead each tenant is, in steps of phi: up at the next step, down half a step late, so that it settles."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}

    def __getitem__(self, tenant: str) -> int:
        return self._steps.get(tenant, 0)

    def sort(self, roster: Roster, now: float) -> None:
        """Bring every tenant's step up to date."""
        counters = roster.counters
        floor, backlogged = counters.floor(), counters.backlogged_tenants
        if floor is None or not backlogged:
            self._steps.clear()
            return
        phi = max(1.0, roster.tuning.slack_s * roster.service.read(now) / backlogged)
        for account in counters:
            lead, step = (account.counter - floor) / phi, self._steps.get(account.tenant, 0)
            if lead > step + 1:
                step = int(min(lead, 1e9))
            elif lead < step - 0.5:
                step = max(0, int(lead + 0.5))
            if step:
                self._steps[account.tenant] = step
            else:
                self._steps.pop(account.tenant, None)


class Allowance:
    """Engine seconds that may go into computing again what pauses threw away."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved: float | None = None
        self._at = 0.0

    def earn(self, engines: int, now: float) -> None:
        most = self._share * engines * _SAVED_S
        earned = most if self._saved is None else self._saved + self._share * engines * (now - self._at)
        self._saved, self._at = min(most, earned), now

    def spend(self, cost_s: float, *, forced: bool = False) -> bool:
        """Take it if it is there; False, and nothing taken, otherwise. What is forced is owed."""
        if self._saved is None or (cost_s > self._saved and not forced):
            return False
        self._saved -= cost_s
        return True


class FairQoe(Andes):
    """See the module's text."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._steps = Steps()
        share = roster.tuning.overhead
        self._for_gain = Allowance(share * _GAIN_SHARE)
        self._for_fairness = Allowance(share * (1 - _GAIN_SHARE))
        self._late_credit = 0.0
        self._overloaded = False
        self._horizon_s = _HORIZONS * roster.tuning.horizon_s
        self._bonus = 1 + roster.tuning.hysteresis
        self._lowest = 0
        self._apart = False

    def order_of_start(self) -> list[Job]:
        counters = self._roster.counters
        return sorted(
            self._roster.waiting.values(), key=lambda job: (counters.account(job.spec.tenant).counter, job.order)
        )

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        self._steps.sort(self._roster, now)
        for allowance in (self._for_gain, self._for_fairness):
            allowance.earn(len(self._roster.fleet), now)
        steps = [self._steps[tenant] for tenant in {job.spec.tenant for job in jobs}]
        self._lowest = min(steps, default=0)
        self._apart = max(steps, default=0) > self._lowest
        outlooks = self.outlooks()
        bids = [self._bid(job, outlooks, now) for job in jobs]
        if self._late_credit >= 1:
            self._promote_late(bids, now)
        return bids

    def waits_for(self, job: Job, /) -> Reason:
        return Reason.SHARE if self._apart and self._steps[job.spec.tenant] > self._lowest else Reason.ROOM

    def began(self, bid: Bid) -> None:
        if bid.job.fresh:
            self._late_credit = min(2.0, self._late_credit + self._roster.tuning.age_share)
            if bid.begins is Reason.LATE:
                self._late_credit -= 1

    def may_pause(self, bid: Bid, victims: Sequence[Bid], now: float) -> bool:
        cost_s = sum(self._cost_of_pausing(victim.job) for victim in victims)
        if bid.begins is Reason.DUE:
            return self._for_gain.spend(cost_s, forced=True)
        if all(victim.rank[:2] < bid.rank[:2] for victim in victims):
            return self._for_fairness.spend(cost_s)
        if not all(victim.job.paced for victim in victims):
            return False  # a program gives way to who is behind, and to nobody else
        return self.pays(bid, victims, now) and self._for_gain.spend(cost_s)

    def _cost_of_pausing(self, job: Job) -> float:
        """Engine seconds: what is computed again later, and the place that stands empty until the leg is gone."""
        load = self._roster.fleet[job.engine_id or ""]
        return load.recompute_s(job.context_tokens) + self._roster.tuning.settle_s / load.running

    def _bid(self, job: Job, outlooks: Mapping[str | None, Outlook], now: float) -> Bid:
        runs = job.state is JobState.RUNNING
        tracker = job.tracker
        if not tracker.present:
            return Bid((_AWAY, float(runs), -float(job.order)), 0.0, job, Reason.ROOM, Reason.AWAY)
        speed, delay_s = expected(job, outlooks)
        if job.paced:
            gain = tracker.gain(speed, delay_s, self._horizon_s, now)
        else:  # it reads nothing, so what it has already does not count against it
            gain = (self._horizon_s / (self._horizon_s + now - job.arrived)) ** 2
        if job.produced and job.paced and not self._overloaded:
            spare_s = tracker.lead(now) - self._roster.must_run_s(job)
            if spare_s <= 0:
                return Bid((_DUE, -spare_s, 0.0), gain, job, Reason.DUE, Reason.AHEAD, True, True)
        value = gain / (job.prompt_tokens + job.produced)
        if runs:
            value *= self._bonus
        step = self._steps[job.spec.tenant]
        if self._apart and step == self._lowest:
            return Bid((_NORMAL, -float(step), value), gain, job, Reason.FAIR, Reason.AHEAD, False, True)
        return Bid((_NORMAL, -float(step), value), gain, job, Reason.GAIN, Reason.SHARE if step else Reason.AHEAD)

    def survey(self, jobs: Sequence[Job], now: float) -> None:
        """Whether everybody's reading, those who wait for their first word included, asks more than the pool makes.

        It takes far less to be over it: while many have stalled, a rule that no one may stall serves nobody.
        """
        wanted = sum(job.rate for job in jobs if job.paced and job.tracker.present)
        potential = sum(load.potential() for load in self._roster.fleet if load.capacity.ready)
        # A pool that has idled shows less than it can; how much prompts will take of it, only being full tells.
        capacity = max(self._roster.output.read(now), _DERATED * potential)
        self._overloaded = wanted > (_RELIEVED if self._overloaded else _OVERLOADED) * capacity

    def _promote_late(self, bids: list[Bid], now: float) -> None:
        """The oldest late job comes before the other starts."""
        overdue = self._roster.tuning.age_s
        late = [
            index
            for index, bid in enumerate(bids)
            if bid.job.fresh
            and bid.job.engine_id is None
            and bid.job.tracker.present
            and now - bid.job.arrived - bid.job.spec.pace.ttft_s > overdue
        ]
        if late:
            oldest = min(late, key=lambda index: bids[index].job.order)
            bids[oldest] = bids[oldest]._replace(rank=(_LATE, 0.0, 0.0), begins=Reason.LATE, holds=True)
