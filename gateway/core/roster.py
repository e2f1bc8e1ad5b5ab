"""Who is in the pool and what a decision does to them: the state that the scheduler and its policy share.

Rules of this file:

1. `begin` and `pause` are the only ways in which a policy acts. Both keep the books: room, bills, counters, states.
2. A tenant is backlogged while one of its jobs wants service: it was never started, it lost its engine, or the policy
   paused it and its reader, who is present, will soon have nothing left to read. A job that was paused because it is
   far ahead must not hold the counters' floor down, and neither must one that nobody reads, parked or not.
3. Service is what was computed for a tenant; what a pause makes an engine compute again is nobody's.
"""

from bisect import bisect_left, insort

from gateway.core.bills import Cashier
from gateway.core.capacity import EngineLoad, tokens_to_reserve
from gateway.core.counters import Counters
from gateway.core.fleet import Fleet, Meter
from gateway.core.job import Job, JobEvent
from gateway.core.plan import Pause, Reason, Resume, Start
from gateway.core.tracker import QoeTracker
from gateway.core.tuning import Tuning


class Roster:
    """The jobs, engines and counters of one pool, and the moves of the plan that is being made."""

    def __init__(
        self, tuning: Tuning, *, lifts: bool = True, predicts: bool = False, knows_outputs: bool = False
    ) -> None:
        self.tuning = tuning
        self._knows_outputs = knows_outputs
        self.jobs: dict[str, Job] = {}
        self.waiting: dict[str, Job] = {}
        self._line: list[int] = []  # their orders of arrival, sorted
        self.fleet = Fleet(tuning.engine_prior, tuning.fits)
        self.counters = Counters(lifts=lifts)
        self.cashier = Cashier(self.counters, tuning.cost, cached_price=tuning.cached_price, predicts=predicts)
        self.service = Meter()  # service units per second
        self.output = Meter()  # tokens per second
        self.starts: list[Start] = []
        self.pauses: list[Pause] = []
        self.resumes: list[Resume] = []

    def enter(self, job: Job) -> None:
        """A job comes into the pool."""
        self.jobs[job.spec.id] = job
        self.counters.enter(job.spec.tenant)

    # ---- what a policy does

    def begin(self, job: Job, load: EngineLoad, reason: Reason, now: float) -> None:
        """The job's next leg, on this engine."""
        name = job.spec.id
        if job.fresh:
            self.starts.append(Start(name, load.id, reason))
        else:
            self.resumes.append(Resume(name, load.id, reason))
        load.take(job, self.need(job), now)
        self.stop_waiting(job)
        job.move(JobEvent.PLACE)
        job.yielded = False
        job.reason = reason
        self.rest(job)
        if job.bill is None:
            predicted = job.spec.known_output if self._knows_outputs else None
            job.bill = self.cashier.select(job.spec.tenant, job.prompt_tokens, predicted=predicted)
            self.service.add(job.bill.charged)
        elif not job.fresh:
            self.cashier.recomputed(job.bill, job.context_tokens)

    def pause(self, job: Job, reason: Reason) -> None:
        """Take the job's place away; its room is free once its leg has ended."""
        assert job.engine_id is not None  # it runs
        self.pauses.append(Pause(job.spec.id, job.engine_id, reason))
        job.move(JobEvent.PAUSE)
        job.pauses += 1
        job.yielded = True
        job.reason = reason
        self.fleet[job.engine_id].stop(job)

    def keep(self, job: Job) -> None:
        """The job that was to be paused runs on where it is."""
        assert job.engine_id is not None  # it was about to lose it
        job.pauses -= 1
        job.yielded = False
        self.fleet[job.engine_id].keep(job)

    def need(self, job: Job) -> int:
        """Tokens that its next leg sets aside."""
        return tokens_to_reserve(
            job.context_tokens, job.prompt_tokens, job.spec.max_tokens, self.tuning.assumed_output_tokens
        )

    # ---- who wants service

    def want(self, job: Job, *, arrives: bool = False) -> None:
        """The job waits for service; only an arrival lifts its tenant."""
        if not job.wants:
            job.wants = True
            if arrives:
                self.counters.arrive(job.spec.tenant, job.spec.weight)
            else:
                self.counters.want(job.spec.tenant)

    def rest(self, job: Job) -> None:
        """The job has what it needs for now, or is gone."""
        if job.wants:
            job.wants = False
            self.counters.settle(job.spec.tenant)

    def due(self, job: Job, now: float) -> bool:
        """Whether the job must run, or its reader, who is present, runs out of text before it could."""
        if not job.tracker.present:
            return False
        home = None if job.home is None else self.fleet.find(job.home)
        resume_s = 0.0 if home is None else home.resume_s(job.context_tokens)
        return job.tracker.lead(now) <= self.must_run_s(job, resume_s)

    def must_run_s(self, job: Job, resume_s: float) -> float:
        """The lead below which a stream may not stand still, where a resume takes so long (seconds)."""
        tuning = self.tuning
        return tuning.safety * (tuning.settle_s + resume_s) + tuning.tick_s + job.network_s

    def reconsider(self, now: float) -> None:
        """Bring the wants of those who wait up to date: readers have read on, come or gone."""
        for job in self.waiting.values():
            wants = self.due(job, now) if job.yielded else job.tracker.present
            if job.wants != wants:
                if wants:
                    self.want(job)
                else:
                    self.rest(job)

    # ---- what the scheduler does

    def wait(self, job: Job, *, arrives: bool = False) -> None:
        """The job joins those without a leg."""
        self.waiting[job.spec.id] = job
        insort(self._line, job.order)
        if not job.yielded:
            job.reason = None
            self.want(job, arrives=arrives)

    def stop_waiting(self, job: Job) -> bool:
        """The job gives up its place in the line; False when it has none."""
        if self.waiting.pop(job.spec.id, None) is None:
            return False
        del self._line[bisect_left(self._line, job.order)]
        return True

    def place_in_line(self, job_id: str) -> int | None:
        """How many waiting jobs arrived before this one; None when it does not wait. O(log n)."""
        job = self.waiting.get(job_id)
        return None if job is None else bisect_left(self._line, job.order)

    def inherit(self, job: Job, produced: int, now: float) -> None:
        """What the job has produced was charged by another gateway, and has been read at its pace until now."""
        spec = job.spec
        self.counters.account(spec.tenant).weight = spec.weight
        if produced:
            units = produced * spec.units_per_token
            began = now - units / spec.pace.rate
            job.produced = produced
            job.tracker = QoeTracker(spec.pace, began - spec.pace.ttft_s)
            job.tracker.deliver(units, began)
            job.bill = self.cashier.inherit(spec.tenant, job.prompt_tokens, produced)
        job.move(JobEvent.PARK)
        self.park(job, now)

    def park(self, job: Job, now: float) -> None:
        """Nobody reads the job: it wants nothing, and its reader's clock stands still."""
        self.rest(job)
        job.tracker.leave(now)
        job.parked_at = now
        if job.engine_id is not None:
            self.fleet[job.engine_id].stop(job)

    def unpark(self, job: Job, now: float, *, reads_on: bool) -> None:
        """Its reader is back. `reads_on`: with what lay ready when it left, so that it wants nothing before that ends,
        as after a pause; for a policy that never looks again it wants at once."""
        job.tracker.back(now)
        job.parked_s += now - job.parked_at
        job.yielded = reads_on and not job.fresh

    def leave(self, job: Job, *, finished: bool) -> None:
        """The job is gone; its bill is closed."""
        self.rest(job)
        if job.bill is not None:
            self.cashier.close(job.bill, finished=finished)

    def forget(self, job: Job) -> None:
        """Nothing of the job is left."""
        del self.jobs[job.spec.id]
        self.counters.leave(job.spec.tenant)

    def release(self, job: Job, *, failed: bool) -> None:
        """The job's leg has ended: its room is free."""
        if job.engine_id is not None:
            if failed:
                job.avoid.add(job.engine_id)
                job.home = None
                job.yielded = False
            self.fleet[job.engine_id].free(job)

    def take_moves(self) -> tuple[tuple[Start, ...], tuple[Pause, ...], tuple[Resume, ...]]:
        """The moves since the last call."""
        moves = tuple(self.starts), tuple(self.pauses), tuple(self.resumes)
        self.starts.clear()
        self.pauses.clear()
        self.resumes.clear()
        return moves
