"""Fair QoE, the default: places by what readers gain, between tenants that stay near each other.

One knob, the slack: `phi = slack_s * the pool's service rate / backlogged tenants`. Slack 0 serves whoever is furthest
behind, an infinite one only what readers gain. The rules, in order of precedence:

1. Due: a stream whose reader would run out of text before it could be resumed keeps or gets its place. So nobody who
   has begun to read stalls because of a pause, as long as the pool can keep up with its readers at all.
2. Late: a job that waited `age_s` past its `ttft` has lost most of what it could gain and would wait for ever. Late jobs
   get `age_share` of the starts, oldest first.
3. Tenants: who leads the one furthest behind by more than phi comes after all others, until the lead is half of it.
4. Gain for each token of memory, as in Andes.
5. A reader who does not look gives way first, and goes on when there is room.
"""

from collections.abc import Sequence

from gateway.core.job import Job, JobState
from gateway.core.plan import Reason
from gateway.core.policies.andes import Andes
from gateway.core.policies.ranked import Bid
from gateway.core.roster import Roster

_DUE, _LATE, _NEAR, _FAR, _AWAY = 4.0, 3.0, 2.0, 1.0, 0.0


class FairQoe(Andes):
    """See the module's text."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._ahead: set[str] = set()
        self._late_credit = 0.0

    def order_of_start(self) -> list[Job]:
        counters = self._roster.counters
        return sorted(
            self._roster.waiting.values(), key=lambda job: (counters.account(job.spec.tenant).counter, job.order)
        )

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        self._sort_tenants(now)
        bids = [self._bid(job, now) for job in jobs]
        if self._late_credit >= 1:
            self._promote_late(bids, now)
        return bids

    def began(self, bid: Bid, now: float) -> None:
        if bid.job.fresh:
            self._late_credit = min(2.0, self._late_credit + self._roster.tuning.age_share)
            if bid.begins is Reason.LATE:
                self._late_credit -= 1

    def _sort_tenants(self, now: float) -> None:
        """Who is too far ahead: out above phi, in again below half of it."""
        counters = self._roster.counters
        backlogged = counters.backlogged_tenants
        floor = counters.floor()
        if floor is None or not backlogged:
            self._ahead.clear()
            return
        phi = self._roster.tuning.slack_s * self._roster.service.read(now) / backlogged
        for account in counters:
            lag = account.counter - floor
            if lag > phi:
                self._ahead.add(account.tenant)
            elif lag <= phi / 2:
                self._ahead.discard(account.tenant)

    def _bid(self, job: Job, now: float) -> Bid:
        roster = self._roster
        runs = job.state is JobState.RUNNING
        if not job.tracker.present:
            return Bid((_AWAY, float(runs), -float(job.order)), 0.0, job, Reason.ROOM, Reason.AWAY)
        speed, delay_s = self.service(job)
        gain = job.tracker.gain(speed, delay_s, roster.tuning.horizon_s, now)
        if not job.fresh and job.spec.pace.paced:
            spare_s = job.tracker.lead(now) - roster.must_run_s(job)
            if spare_s <= 0:
                return Bid((_DUE, -spare_s, 0.0), gain, job, Reason.DUE, firm=True)
        value = gain / job.context_tokens
        if runs:
            value *= 1 + roster.tuning.hysteresis
        if job.spec.tenant in self._ahead:
            return Bid((_FAR, value, 0.0), gain, job, Reason.GAIN, Reason.SHARE)
        return Bid((_NEAR, value, 0.0), gain, job, Reason.GAIN, Reason.AHEAD)

    def _promote_late(self, bids: list[Bid], now: float) -> None:
        """The oldest late job comes before the other starts."""
        tuning = self._roster.tuning
        late: int | None = None
        for index, bid in enumerate(bids):
            job = bid.job
            waits = job.fresh and job.engine_id is None and job.tracker.present
            if waits and now - job.arrived - job.spec.pace.ttft_s > tuning.age_s:
                if late is None or job.order < bids[late].job.order:
                    late = index
        if late is not None:
            bids[late] = bids[late]._replace(rank=(_LATE, 0.0, 0.0), begins=Reason.LATE, gain=1.0)
