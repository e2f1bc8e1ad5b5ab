"""Fair QoE, the default: places by what readers gain, between tenants that stay near each other.

One knob, the slack: `phi = slack_s * the pool's service rate / backlogged tenants`. Tenants stand in steps of phi by
how far they lead the one furthest behind, and a lower step comes first. Slack 0 serves whoever is furthest behind, an
infinite one only what readers gain. The rules, in order of precedence:

1. Due: a stream whose reader would run out of text before it could be resumed keeps or gets its place, so that nobody
   who has begun to read stalls because of a pause. Void while those who want to read together read nearly as fast as
   the pool can produce: then somebody must stall, and QoE is best served by gain alone.
2. Late: a job that waited `age_s` past its `ttft` has lost most of what it could gain and would wait for ever. Late
   jobs get `age_share` of the starts, oldest first.
3. Tenants: a lower step first. A tenant's streams count one after the other, best first, each as what it will have
   received soon: a resume is charged nothing when it begins, so without looking ahead everything that the lowest
   tenant has would resume at once and carry it far past the others. Who is first of those waiting holds
   what becomes free, so that a large job is not passed by small ones of tenants that are ahead.
4. Gain for each token of memory, as in Andes.
5. A reader who does not look gives way first, and goes on when there is room.

A pause must pay, as in Andes: the newcomer gains more than the readers of that engine lose, the paused one included
unless it is the other tenant's turn. At the edge of overload each pause that does not pay is work that calls for the
next one. What pauses cost (text computed again, places that stand empty meanwhile) is bounded besides, by `overhead`, a
share of the engines' time, saved up for bursts; three tenths of it are for gain alone. A pause that serves the tenant
who is behind also serves readers more: who asks for little is behind most of the time.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final

from gateway.core.capacity import Outlook
from gateway.core.job import Job, JobState
from gateway.core.plan import Reason
from gateway.core.policies.andes import Andes, expected
from gateway.core.policies.places import STRICTEST_RATE, Bid
from gateway.core.policies.recent import Recent
from gateway.core.policies.turns import Allowance, Steps
from gateway.core.roster import Roster

_RUNNING: Final = JobState.RUNNING  # to read a member of an enumeration takes four times as long, and a plan has many
_AHEAD, _GAIN, _SHARE = Reason.AHEAD, Reason.GAIN, Reason.SHARE
_DUE, _LATE, _NORMAL, _AWAY = 3e10, 2e10, 1e10, 0.0  # further apart than any two tenants
_OVERLOADED: Final = 0.5  # of what the pool makes: turns cost something, so not all of it can be read
_DERATED: Final = 0.5
_RELIEVED: Final = 0.2
_HORIZONS: Final = 2.0  # of Andes' horizon: with few pauses to give, what they are worth in the long run counts
_GAIN_SHARE: Final = 0.3
_SAVED_S: Final = 60.0  # how long the allowance for recomputing can be saved up
_FASTEST: Final = 1e4  # tokens per second of one stream; a model that takes no time must not make sums infinite
_AHEAD_S: Final = 20.0  # how far ahead a tenant's streams are counted
_SCATTER: Final = 3.0  # and for how many times a usual answer of the tenant's at most


Offer = tuple[float, float, int, float, Job, float]
"""A job before its tenant's turn is known: its class, its worth within the class, its place among equals (no two have
the same), its gain, and what it will be charged in the next seconds. Plain, since a plan sorts one for each job."""


class FairQoe(Andes):
    """See the module's text."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._steps = Steps()
        share = roster.tuning.overhead
        self._for_gain = Allowance(share * _GAIN_SHARE, _SAVED_S)
        self._for_fairness = Allowance(share * (1 - _GAIN_SHARE), _SAVED_S)
        self._late_credit = 0.0
        self._horizon_s = _HORIZONS * roster.tuning.horizon_s
        self._bonus = 1 + roster.tuning.hysteresis
        self._offers = Recent[Offer]()
        self._first = 0  # the lowest step of those who wait
        self._ready: list[str] = []

    def order_of_start(self) -> list[Job]:
        counters = self._roster.counters
        return sorted(
            self._roster.waiting.values(), key=lambda job: (counters.account(job.spec.tenant).counter, job.order)
        )

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        self._steps.sort(self._roster, now)
        for allowance in (self._for_gain, self._for_fairness):
            allowance.earn(sum(load.capacity.fraction for load in self._roster.fleet), now)
        ready = [load.id for load in self._roster.fleet if load.capacity.ready]
        if ready != self._ready:  # what everybody can expect has changed, and this plan may fill a whole engine
            self._ready = ready
            self._offers.forget()
        outlooks = self.outlooks()
        offers = self._offers.of(jobs, now, lambda job: self._offer(job, outlooks, now))
        offers.sort(reverse=True)
        steps = self._turns(offers)
        first = self._first if max(steps, default=0) > self._first else -1  # nobody is first while all stand together
        bids = [self._bid(offer, step, step == first) for offer, step in zip(offers, steps, strict=True)]
        if self._late_credit >= 1:
            self._promote_late(bids, now)
        return bids

    def waits_for(self, job: Job, /) -> Reason:
        return Reason.SHARE if self._steps.after(job.spec.tenant, 0.0, runs=False) > self._first else Reason.ROOM

    def push(self, job: Job) -> None:
        """Its leg may have begun and failed since it was last looked at: it has a bill now."""
        self._offers.drop(job)
        super().push(job)

    def forget(self) -> None:
        super().forget()
        self._offers.forget()

    def reported(self, job: Job, /) -> None:
        self._offers.drop(job)

    def began(self, bid: Bid) -> None:
        if bid.job.fresh:
            self._late_credit = min(2.0, self._late_credit + self._roster.tuning.age_share)
            if bid.begins is Reason.LATE:
                self._late_credit -= 1

    def may_stop(self, job: Job, now: float, /) -> bool:
        """Not while it is due, by what a resume would take now: what it offers may be from a moment ago."""
        return self.overloaded or not job.paced or job.fresh or not self._roster.due(job, now)

    def may_pause(self, bid: Bid, victims: Sequence[Bid], now: float) -> bool:
        if bid.begins is Reason.DUE:
            return self._for_gain.spend(self._cost_of_pausing(victims), forced=True)
        tenant = bid.job.spec.tenant
        behind = all(victim.rank < bid.rank and victim.job.spec.tenant != tenant for victim in victims)
        if not behind and not all(victim.job.paced for victim in victims):
            return False  # a program gives way to who is behind, and to nobody else
        # Whose turn is over has no claim to its own gain; what others lose counts all the same.
        loss = self._recomputed(victims) if behind else self._forgone(victims)
        allowance = self._for_fairness if behind else self._for_gain
        return self.pays(bid._replace(gain=bid.gain - loss), victims, now) and allowance.spend(
            self._cost_of_pausing(victims)
        )

    def _cost_of_pausing(self, victims: Sequence[Bid]) -> float:
        """Engine seconds: what is computed again later, and the places that stand empty until the legs are gone."""
        fleet, settle_s = self._roster.fleet, self._roster.tuning.settle_s
        loads = [(victim.job, fleet[victim.job.engine_id or ""]) for victim in victims]
        return sum(load.recompute_s(job.context_tokens) + settle_s / load.crowd for job, load in loads)

    def _offer(self, job: Job, outlooks: Mapping[str | None, Outlook], now: float) -> tuple[Offer, float]:
        """What the job offers, and until when: who is due is always looked at anew, and who soon will be, soon; what a
        resume takes may change meanwhile."""
        runs = job.state is _RUNNING
        if not job.tracker.present:
            return (_AWAY, float(runs), -job.order, 0.0, job, 0.0), inf
        speed, delay_s = expected(job, outlooks)
        more = self._service_ahead(job, min(speed / job.spec.units_per_token, _FASTEST))
        spare_s = inf
        if job.paced:
            gain = job.tracker.gain(speed, delay_s, self._horizon_s, now)
            if job.produced and not self.overloaded:
                spare_s = self._spare_s(job, outlooks.get(job.home), now)
        else:  # it reads nothing, so what it has already does not count against it
            gain = (self._horizon_s / (self._horizon_s + job.age(now))) ** 2
        if spare_s <= 0:
            return (_DUE, -spare_s, -job.order, gain, job, more), now
        value = gain / max(1, job.prompt_tokens + job.produced)
        return (_NORMAL, value * self._bonus if runs else value, -job.order, gain, job, more), now + spare_s / 2

    def _spare_s(self, job: Job, home: Outlook | None, now: float) -> float:
        """Seconds until the job must run, so that its reader does not run out of text."""
        resume_s = 0.0 if home is None else home.resume_s(job.prompt_tokens + job.produced)
        return job.tracker.lead(now) - self._roster.must_run_s(job, resume_s)

    def _turns(self, offers: Sequence[Offer]) -> list[int]:
        """The step of each offer, best first: its tenant's, once that tenant's better streams have run on a while."""
        after = self._steps.after
        ahead: dict[str, float] = {}
        steps, waiting = [], []
        for standing, _, _, _, job, more in offers:
            tenant = job.spec.tenant
            service = ahead.get(tenant, 0.0)
            steps.append(step := after(tenant, service, runs=job.state is _RUNNING))
            if job.engine_id is None and standing != _AWAY:  # who does not look holds nothing
                waiting.append(step)
            ahead[tenant] = service + more
        self._first = min(waiting, default=0)
        return steps

    def _service_ahead(self, job: Job, speed: float) -> float:
        """What the job will be charged soon at so many tokens a second (service units by the tenant's weight): for no
        more than an answer of its tenant may well have, and this one can."""
        cost, prompt, produced = self._roster.tuning.cost, job.prompt_tokens, job.produced
        if job.bill is None:
            charged, usual = 0.0, self._roster.counters.account(job.spec.tenant).predicted_output
        else:
            charged, usual = cost(prompt, produced), job.bill.account.predicted_output
        limit = job.spec.max_tokens
        left = inf if limit is None else max(0, limit - produced)
        tokens = min(speed * _AHEAD_S, _SCATTER * usual or inf, left)
        return (cost(prompt, produced + tokens) - charged) / job.spec.weight

    @staticmethod
    def _bid(offer: Offer, step: int, first: bool) -> Bid:
        standing, _, _, gain, job, _ = offer
        if standing == _NORMAL:
            if first and job.engine_id is None:
                return Bid(_NORMAL - step, gain, job, Reason.FAIR, _AHEAD, False, True)
            return Bid(_NORMAL - step, gain, job, _GAIN, _SHARE if step else _AHEAD)
        if standing == _DUE:
            return Bid(_DUE, gain, job, Reason.DUE, _AHEAD, True, True)
        return Bid(_AWAY, gain, job, Reason.ROOM, Reason.AWAY)

    def survey(self, jobs: Sequence[Job], now: float) -> None:
        """Whether everybody's reading, those who wait for their first word included, asks more than the pool makes.

        It takes far less to be over it: while many have stalled, a rule that no one may stall serves nobody.
        """
        self._offers.keep(jobs)
        wanted = sum(min(job.rate, STRICTEST_RATE) for job in jobs if job.paced and job.tracker.present)
        potential = sum(load.potential() for load in self._roster.fleet if load.capacity.ready)
        # A pool that has idled shows less than it can; how much prompts will take of it, only being full tells.
        capacity = max(self._roster.output.read(now), _DERATED * potential)
        overloaded = wanted > (_RELIEVED if self.overloaded else _OVERLOADED) * capacity
        if overloaded != self.overloaded:  # who is due has changed
            self._offers.forget()
        self.overloaded = overloaded

    def _promote_late(self, bids: list[Bid], now: float) -> None:
        """The oldest late job comes before the other starts."""
        overdue = self._roster.tuning.age_s
        late = [
            index
            for index, bid in enumerate(bids)
            if bid.job.engine_id is None
            and bid.job.fresh
            and bid.job.tracker.present
            and bid.job.age(now) - bid.job.spec.pace.ttft_s > overdue
        ]
        if late:
            oldest = min(late, key=lambda index: bids[index].job.order)
            bids[oldest] = bids[oldest]._replace(rank=_LATE, begins=Reason.LATE, holds=True)
