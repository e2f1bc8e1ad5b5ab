"""The scheduler of one pool: takes events, answers with plans.

Rules of this file:

1. `plan` is the only decision, whatever the cause: an arrival, an end, a failure, a tick. It changes the state here and
   returns the work; whoever owns the scheduler performs it outside and reports back by events.
2. An engine's room is taken when a leg is planned and given back only by `LegEnded`.
3. Every job that was added leaves exactly once: by `remove`, or by a plan's `reject`.
4. Nothing here knows text, sockets or the clock: times are seconds on the caller's monotonic clock.
5. Cadence: a policy that ranks running jobs decides once a tick while somebody waits, and at once only for what may
   help somebody at once; `plan_at` says when. Tokens never cause a plan.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.core.capacity import BLOCK_TOKENS, EngineCapacity
from gateway.core.counters import Counters
from gateway.core.demand import lines_of
from gateway.core.events import LegEnded, ReaderReport, Standing
from gateway.core.job import Job, JobEvent, JobSpec, JobState
from gateway.core.plan import Plan, Reason, Reject
from gateway.core.policies import PolicyRule
from gateway.core.roster import Roster
from gateway.core.shares import Line
from gateway.core.tuning import Tuning
from gateway.core.waiting_room import QueueLimits, WaitingRoom

_SHORTEST_GAP: Final = 0.2  # of a tick: plans at once are no closer than that
_LOWEST_PRIORITY: Final = 2**31 - 1  # engines hold it in 32 bits


class Scheduler:
    """Jobs, engines and one policy. Same events, same plans: there is no other input."""

    def __init__(self, rule: PolicyRule, limits: QueueLimits, tuning: Tuning = Tuning()) -> None:  # noqa: B008 - frozen
        self._roster = Roster(tuning, lifts=rule.lifts, predicts=rule.predicts, knows_outputs=rule.knows_outputs)
        self._policy = rule.make(self._roster)
        self._room = WaitingRoom(limits)
        self._arrivals = 0
        self._planned_at: float | None = None
        self._plan_at: float | None = None

    def __repr__(self) -> str:
        return f"<Scheduler {self.waiting} waiting, {len(self)} jobs | {self._roster.fleet}>"

    def __len__(self) -> int:
        """Jobs that were added and have not left, those whose leg is still ending included."""
        return len(self._roster.jobs)

    @property
    def waiting(self) -> int:
        """Jobs that wait for a leg; parked ones do not."""
        return len(self._roster.waiting)

    @property
    def overloaded(self) -> bool:
        """Whether some wait and readers ask more than the engines make, so that stalls are no policy's fault."""
        return self._policy.overloaded and bool(self._roster.waiting)

    @property
    def plan_at(self) -> float | None:
        """When to plan next if nothing happens before; in the past: now. None: never."""
        return self._plan_at

    # ---- events

    def add(self, spec: JobSpec, now: float) -> None:
        """A job arrives. QueueFull, QueueShareFull or RateLimited when it may not wait."""
        self._check(spec)
        self._policy.admit(spec, now)
        self._wait(self._enter(spec, now), arrives=True)
        self._hurry(now, at_once=not self._policy.ticks or self.waiting == 1)

    def inherit(self, spec: JobSpec, produced: int, now: float) -> None:
        """A job that another gateway had, parked until `unpark`: no arrival. What it has `produced` (tokens), and the
        prompt of that, were charged there. QueueFull or QueueShareFull if it has nothing and may not wait."""
        self._check(spec, waits=not produced)
        self._roster.inherit(self._enter(spec, now), produced, now)

    def observe(
        self,
        job_id: str,
        produced: int,
        now: float,
        *,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        first_token_s: float | None = None,
    ) -> None:
        """The job's running total of tokens; the engine's own counts of the prompt once they are known.

        `first_token_s`: how long the present leg's first token took, where somebody has measured it.
        """
        job = self._roster.jobs[job_id]
        roster = self._roster
        made = produced - job.produced
        load = None if job.engine_id is None else roster.fleet[job.engine_id]
        if prompt_tokens is not None:
            job.prompt_tokens = prompt_tokens
        if made:
            if load is not None and made > 0:
                load.produced(job, made, now, first_token_s)
            job.produced = produced
            roster.output.add(made)
        if (bill := job.bill) is not None:
            before = bill.charged
            if prompt_tokens is not None or cached_tokens is not None:
                roster.cashier.correct(bill, prompt=prompt_tokens, cached=cached_tokens, produced=produced)
            elif made:
                roster.cashier.produced(bill, produced)
            roster.service.add(bill.charged - before)
        context = job.prompt_tokens + produced
        if load is not None and context + BLOCK_TOKENS > job.reserved:
            load.grow(job, context + 2 * BLOCK_TOKENS - job.reserved)

    def resumed(self, engine_id: str, sent: int, cached: int) -> None:
        """An engine that went on with a job has told how many of the tokens sent again it still knew."""
        if (load := self._roster.fleet.find(engine_id)) is not None:
            load.resumes.told(sent, cached)

    def cannot_resume(self, job_id: str, now: float) -> None:
        """What the job says now could not be continued after a cut: it is never paused from here on.

        A plan that was about to pause it is not carried out: its leg runs on.
        """
        job = self._roster.jobs[job_id]
        job.resumable = False
        if job.state is JobState.STOPPING:
            job.move(JobEvent.KEEP)
            self._roster.keep(job)
            self._hurry(now)

    def delivered(self, job_id: str, units: float, now: float) -> None:
        """So much in all, in the pace's unit, has been sent to the reader."""
        self._roster.jobs[job_id].tracker.deliver(units, now)

    def reader(self, job_id: str, report: ReaderReport, now: float) -> None:
        """What the reader's browser says."""
        job = self._roster.jobs[job_id]
        if report.visible and not job.parked:
            job.tracker.back(now)
        else:
            job.tracker.leave(now)
        if report.shown is not None:
            job.tracker.report(report.shown, now)
        job.network_s = report.round_trip_s + report.jitter_s
        self._policy.reported(job)

    def leg_ended(self, job_id: str, event: LegEnded, now: float) -> None:
        """The job's leg is over and its room free; the job waits again unless it was removed."""
        job = self._roster.jobs[job_id]
        job.move(JobEvent.LEG_ENDED if job.produced else JobEvent.LEG_ENDED_FRESH)
        self._roster.release(job, failed=event.failed)
        if job.state is JobState.ENDED:
            self._roster.forget(job)
        elif not job.parked:
            self._wait(job)
        if self._roster.waiting:
            self._hurry(now)

    def park(self, job_id: str, now: float) -> None:
        """Its last reader left: it wants nothing until `unpark`. Its leg, if any, holds its room until `leg_ended`.

        Its bill stays open, and its reader's clock stands still.
        """
        job = self._roster.jobs[job_id]
        job.move(JobEvent.PARK)
        self._stop_waiting(job)
        self._roster.park(job, now)
        self._hurry(now)

    def unpark(self, job_id: str, now: float) -> None:
        """A reader is back: the job goes on as a paused one. No arrival: nothing is lifted or charged again.

        QueueFull or QueueShareFull, and it stays parked, if it was never started and may not wait.
        """
        job = self._roster.jobs[job_id]
        if job.fresh and job.state is JobState.PARKED:
            self._room.check(job.spec.tenant)
        job.move(JobEvent.UNPARK_FRESH if job.fresh else JobEvent.UNPARK)
        self._roster.unpark(job, now, reads_on=self._policy.ticks)
        if job.state is not JobState.STOPPING:
            self._wait(job)
            self._hurry(now)

    def remove(self, job_id: str, now: float, *, finished: bool = False) -> float:
        """Finished, failed or cancelled; its QoE until now. Its leg, if any, holds its room until `leg_ended`."""
        job = self._roster.jobs[job_id]
        job.move(JobEvent.REMOVE)
        self._stop_waiting(job)
        self._roster.leave(job, finished=finished)
        if job.state is JobState.ENDED:
            self._roster.forget(job)
            self._hurry(now, at_once=False)
        elif job.engine_id is not None:
            self._roster.fleet[job.engine_id].stop(job)
        return job.tracker.finish(now) if finished else job.tracker.quit(now)

    def engine(self, engine_id: str, capacity: EngineCapacity | None, now: float) -> None:
        """An engine came or changed; None: it left (its legs must have ended, else ValueError)."""
        self._roster.fleet.set(engine_id, capacity)
        self._hurry(now)

    def lines(self, wholes: Mapping[str, EngineCapacity]) -> dict[str, Line]:
        """What is used and could be used of each engine, for the ledger that gateways share them by."""
        return lines_of(self._roster, wholes)

    # ---- the decision

    def plan(self, now: float) -> Plan:
        """What to do now."""
        roster = self._roster
        self._planned_at = now
        rejects = tuple(self._expire(now))
        roster.fleet.measure(now)
        if roster.waiting:
            self._policy.decide(now)
        starts, pauses, resumes = roster.take_moves()
        # Who was paused before its first token was seen waits in the room too.
        for job_id in (*(move.job_id for move in starts), *(move.job_id for move in resumes)):
            self._room.leave(roster.jobs[job_id])
        roster.counters.tidy()
        tick = now + roster.tuning.tick_s if self._policy.ticks and roster.waiting else None
        self._plan_at = min((at for at in (self._room.next_deadline(), tick) if at is not None), default=None)
        return Plan(starts, pauses, resumes, rejects, wake_at=self._plan_at)

    # ---- questions

    @property
    def counters(self) -> Counters:
        """Who received how much; other gateways' deltas go in and ours come out here."""
        return self._roster.counters

    def running(self, engine_id: str) -> int:
        """Legs on this engine, those being stopped included."""
        return self._roster.fleet[engine_id].running

    def priority(self, job_id: str) -> int:
        """The job's rank for an engine that goes by such a number itself, low first: how far its tenant leads the one
        furthest behind (service units)."""
        lead = self._roster.counters.lag(self._roster.jobs[job_id].spec.tenant)
        return int(max(-_LOWEST_PRIORITY, min(_LOWEST_PRIORITY, lead)))

    def place_in_queue(self, job_id: str) -> int | None:
        """How many waiting jobs arrived before this one; None when it does not wait."""
        return self._roster.place_in_line(job_id)

    def standing(self, job_id: str, now: float) -> Standing | None:
        """How the job stands for its reader; None when it is not here."""
        job = self._roster.jobs.get(job_id)
        if job is None:
            return None
        reason = self._policy.waits_for(job) if job_id in self._roster.waiting and job.fresh else job.reason
        return Standing(job.tracker.qoe(now), job.tracker.lead(now), reason)

    def backlogged(self) -> set[str]:
        """The tenants that want service now."""
        return {account.tenant for account in self._roster.counters.backlog()}

    # ---- inside

    def _check(self, spec: JobSpec, *, waits: bool = True) -> None:
        if spec.id in self._roster.jobs:
            raise ValueError(f"job {spec.id} is already here")
        if waits:
            self._room.check(spec.tenant)

    def _enter(self, spec: JobSpec, now: float) -> Job:
        self._arrivals += 1
        job = Job(spec, now, self._arrivals, prompt_tokens=spec.prompt_tokens)
        self._roster.enter(job)
        return job

    def _wait(self, job: Job, *, arrives: bool = False) -> None:
        self._roster.wait(job, arrives=arrives)
        self._policy.push(job)
        if job.fresh:
            self._room.enter(job)

    def _stop_waiting(self, job: Job) -> None:
        """The job gives up its place in the queue, if it has one."""
        if self._roster.stop_waiting(job):
            self._policy.discard(job)
            self._room.leave(job)

    def _hurry(self, now: float, *, at_once: bool = True) -> None:
        """Plan at once, or with the next tick; never sooner after the last plan than a part of a tick."""
        at = now
        if self._policy.ticks and self._planned_at is not None:
            tick_s = self._roster.tuning.tick_s
            at = max(now, self._planned_at + (_SHORTEST_GAP * tick_s if at_once else tick_s))
        self._plan_at = at if self._plan_at is None else min(self._plan_at, at)

    def _expire(self, now: float) -> Iterator[Reject]:
        for job in self._room.expired(now):
            self.remove(job.spec.id, now)
            yield Reject(job.spec.id, Reason.QUEUE_TIMEOUT)
