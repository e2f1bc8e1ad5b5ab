"""A plain model of a pool: who waits, runs, is being stopped, is parked or has left, as events and plans tell."""

from collections import Counter
from dataclasses import dataclass, field

from gateway.core.capacity import WATERMARK, EngineCapacity
from gateway.core.job import JobSpec, JobState
from gateway.core.plan import Pause, Plan, Reason
from gateway.core.scheduler import Scheduler
from gateway.core.waiting_room import QueueLimits
from tests.core.pool import begun

LIMITS = QueueLimits(max_jobs=8, max_jobs_per_tenant=4, timeout_s=10.0)


@dataclass
class Books:
    """`running` holds every leg's engine, those that are `stopping` (to be paused) or `leaving` (removed) included;
    `parked` the jobs whose readers are away, those whose legs are still ending included."""

    specs: dict[str, JobSpec] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    produced: dict[str, int] = field(default_factory=dict)
    engines: dict[str, EngineCapacity] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    stopping: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    yielded: set[str] = field(default_factory=set)  # paused by the policy and neither begun nor failed since
    parked: dict[str, float] = field(default_factory=dict)  # since when
    stuck: set[str] = field(default_factory=set)  # turned out not to be resumable
    away: dict[str, float] = field(default_factory=dict)  # for how long before
    left: list[str] = field(default_factory=list)

    # ---- events

    def add(self, spec: JobSpec, now: float) -> None:
        self.specs[spec.id] = spec
        self.waiting[spec.id] = None
        self.arrived[spec.id] = now
        self.produced[spec.id] = 0
        self.away[spec.id] = 0.0

    def leg_ended(self, job: str, *, failed: bool) -> None:
        del self.running[job]
        self.stopping.discard(job)
        if failed:
            self.yielded.discard(job)
        if job in self.leaving:
            self.leaving.remove(job)
            self.left.append(job)
        elif job not in self.parked:
            self.waiting[job] = None

    def remove(self, job: str) -> None:
        self.parked.pop(job, None)
        self.waiting.pop(job, None)
        if job in self.running:
            self.leaving.add(job)
        else:
            self.left.append(job)

    def park(self, job: str, now: float) -> None:
        self.parked[job] = now
        self.waiting.pop(job, None)
        if job in self.running:
            self.stopping.add(job)

    def unpark(self, job: str, now: float, *, reads_on: bool) -> None:
        self.away[job] += now - self.parked.pop(job)
        if self.produced[job] and reads_on:
            self.yielded.add(job)
        else:
            self.yielded.discard(job)
        if job not in self.running:
            self.waiting[job] = None

    def cannot_resume(self, job: str) -> None:
        self.stuck.add(job)
        if job in self.stopping - self.leaving - self.parked.keys():
            self.stopping.remove(job)
            self.yielded.discard(job)

    def present(self) -> list[str]:
        """Jobs that can be removed."""
        return sorted({*self.waiting, *self.running, *self.parked} - self.leaving)

    def queued(self) -> list[str]:
        """Those that wait and have never said anything."""
        return [job for job in self.waiting if not self.produced[job]]

    # ---- a plan, checked against the books before it is written into them

    def perform(self, plan: Plan, subject: Scheduler, now: float, tick_s: float | None) -> None:
        self._reject(plan, now, tick_s)
        for pause in plan.pause:
            self._pause(pause, subject)
        for move in begun(plan):
            del self.waiting[move.job_id]
            assert self.engines[move.engine_id].ready
            assert (move in plan.resume) == bool(self.produced[move.job_id])
            self.running[move.job_id] = move.engine_id
            self.yielded.discard(move.job_id)
        for name in {move.engine_id for move in begun(plan)}:
            capacity, load = self.engines[name], subject._roster.fleet[name]
            assert load.running <= capacity.max_running
            assert capacity.kv_tokens is None or load.tokens <= WATERMARK * capacity.kv_tokens or load.running == 1
        for pause in plan.pause:
            self._has_beneficiary(pause, subject)
        if self.waiting:
            self._wants_are_up_to_date(subject, now)

    def _reject(self, plan: Plan, now: float, tick_s: float | None) -> None:
        """Exactly those that have no token and have waited long enough; `wake_at` is the next of them, or the tick."""
        fresh = {job: self.arrived[job] + self.away[job] + LIMITS.timeout_s for job in self.queued()}
        overdue = [job for job, deadline in fresh.items() if deadline <= now]
        order = list(self.specs)
        overdue.sort(key=lambda job: (fresh[job], order.index(job)))
        assert [each.job_id for each in plan.reject] == overdue
        for job in overdue:
            del self.waiting[job]
            self.left.append(job)
        began = {move.job_id for move in begun(plan)}
        times = [fresh[job] for job in fresh.keys() - overdue - began]
        if tick_s is not None and self.waiting.keys() - began:
            times.append(now + tick_s)
        assert plan.wake_at == min(times, default=None)

    def _pause(self, pause: Pause, subject: Scheduler) -> None:
        """Only who runs and can go on later is paused; for memory only where there is too little."""
        job = pause.job_id
        assert self.running[job] == pause.engine_id
        assert job not in self.stopping | self.leaving
        assert self.specs[job].resumable
        assert job not in self.stuck
        if pause.reason is Reason.MEMORY:
            kept = self.held(pause.engine_id, subject, but=self.stopping | self.leaving)
            assert kept > (self.engines[pause.engine_id].kv_tokens or kept)
        self.stopping.add(job)
        self.yielded.add(job)

    def held(self, engine: str, subject: Scheduler, *, but: set[str]) -> int:
        """Tokens set aside on an engine, without those of some jobs."""
        jobs = subject._roster.jobs
        return sum(jobs[job].reserved for job, where in self.running.items() if where == engine and job not in but)

    def _has_beneficiary(self, pause: Pause, subject: Scheduler) -> None:
        """Somebody who waits fits on that engine, once what is being stopped there has ended."""
        if pause.reason is Reason.MEMORY:
            return
        roster, capacity = subject._roster, self.engines[pause.engine_id]
        ending = self.stopping | self.leaving
        stay = [job for job, where in self.running.items() if where == pause.engine_id and job not in ending]
        held = self.held(pause.engine_id, subject, but=ending)
        room = float("inf") if capacity.kv_tokens is None else WATERMARK * capacity.kv_tokens
        assert len(stay) < capacity.max_running
        assert any(not stay or held + roster.need(roster.jobs[job]) <= room for job in self.waiting)

    def _wants_are_up_to_date(self, subject: Scheduler, now: float) -> None:
        """Who waits while somebody looks wants service, but one that was paused only when it must go on."""
        roster = subject._roster
        for name, job in roster.jobs.items():
            here = job.tracker.present or not subject._policy.ticks  # a policy that never looks again serves all alike
            wants = roster.due(job, now) if name in self.yielded else here
            assert job.wants == (name in self.waiting and wants), name

    # ---- at any time

    def agree(self, subject: Scheduler) -> None:
        """Everyone is in exactly one place, and what is counted is what a recount gives."""
        roster = subject._roster
        jobs = roster.jobs
        assert len(subject) == len(jobs)
        assert set(jobs) == {*self.waiting, *self.running, *self.parked}
        assert not self.waiting.keys() & {*self.running, *self.parked}
        assert set(roster.waiting) == set(self.waiting)
        assert sorted(self.left) == sorted(set(self.left)) == sorted(self.specs.keys() - jobs.keys())
        for load in roster.fleet:
            legs = {job for job, where in self.running.items() if where == load.id}
            ending = legs & (self.stopping | self.leaving)
            assert set(load.legs) == legs
            assert load.tokens == sum(jobs[job].reserved for job in legs)
            assert load.stopping == ending
            assert load.stopping_tokens == sum(jobs[job].reserved for job in ending)
            assert load.decoding == sum(jobs[job].produced > jobs[job].leg_base for job in legs)
            assert all(jobs[job].reserved >= jobs[job].context_tokens for job in legs)
        oldest_first = [name for name in self.specs if name in self.waiting]
        for name, job in jobs.items():
            assert (job.state is JobState.LEAVING) == (name in self.leaving)
            assert (job.state is JobState.STOPPING) == (name in self.stopping - self.leaving - self.parked.keys())
            assert job.parked == (name in self.parked)
            assert not (job.parked and (job.wants or job.tracker.present))
            assert (job.bill is None) or not job.bill.closed or name in self.leaving
            assert job.engine_id == self.running.get(name)
            assert subject.place_in_queue(name) == (oldest_first.index(name) if name in self.waiting else None)
        wanting = Counter(job.spec.tenant for job in jobs.values() if job.wants)
        assert {account.tenant: account.wanting for account in roster.counters.backlog()} == wanting
        assert roster.counters.backlogged_tenants == len(wanting)
        fresh = Counter(self.specs[job].tenant for job in self.queued())
        assert subject._room.by_tenant == fresh
