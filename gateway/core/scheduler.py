"""The scheduler of one pool: takes events, answers with plans.

Rules of this file:

1. `plan` is the only decision, whatever the cause: an arrival, an end, a failure, a tick. It changes the state here and
   returns the work; whoever owns the scheduler performs it outside and reports back by events.
2. An engine's room is taken when a leg is planned and given back only by `LegEnded`.
3. Every job that was added leaves exactly once: by `remove`, or by a plan's `reject`.
4. Nothing here knows text, sockets or the clock: times are seconds on the caller's monotonic clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush

from gateway.core.capacity import BLOCK_TOKENS, EngineCapacity, EngineLoad, tokens_to_reserve
from gateway.core.job import Job, JobEvent, JobSpec, JobState
from gateway.core.plan import Plan, Reason, Reject, Resume, Start
from gateway.core.policies.base import Policy
from gateway.errors import QueueFull, QueueShareFull


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Bounds of the waiting room.

    `max_jobs` for the pool, `max_jobs_per_tenant` for one tenant, `timeout_s` until a job that never started is
    rejected.
    """

    max_jobs: int = 1000
    max_jobs_per_tenant: int = 250
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The engine holds nothing of the job any more. `failed`: the engine is at fault, so prefer another one."""

    failed: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Running totals of a job (tokens). `prompt_tokens` is the engine's own count once it is known."""

    produced: int
    prompt_tokens: int | None = None


class Scheduler:
    """Jobs, engines and one policy. Same events, same plans: there is no other input."""

    def __init__(self, policy: Policy, limits: QueueLimits, *, assumed_output_tokens: int = 512) -> None:
        self._policy = policy
        self._limits = limits
        self._assumed_output = assumed_output_tokens
        self._jobs: dict[str, Job] = {}
        self._engines: dict[str, EngineLoad] = {}
        self._waiting: dict[str, Job] = {}
        self._deadlines: list[tuple[float, int, str]] = []  # a heap; entries of jobs that moved on are skipped
        self._waiting_by_tenant: dict[str, int] = {}
        self._arrivals = 0

    def __repr__(self) -> str:
        load = ", ".join(f"{name} {e.running} jobs {e.tokens} tokens" for name, e in self._engines.items())
        return f"<Scheduler {len(self._waiting)} waiting, {len(self._jobs)} jobs | {load}>"

    def __len__(self) -> int:
        """Jobs that were added and have not left, those whose leg is still ending included."""
        return len(self._jobs)

    @property
    def waiting(self) -> int:
        """Jobs without a leg."""
        return len(self._waiting)

    # ---- events

    def add(self, spec: JobSpec, now: float) -> None:
        """A job arrives. QueueShareFull or QueueFull when it has no place to wait."""
        if spec.id in self._jobs:
            raise ValueError(f"job {spec.id} is already here")
        if len(self._waiting) >= self._limits.max_jobs:
            raise QueueFull("The queue for this model is full.", retry_after_s=1.0)
        if self._waiting_by_tenant.get(spec.tenant, 0) >= self._limits.max_jobs_per_tenant:
            raise QueueShareFull("Too many of your requests are waiting for this model.", retry_after_s=1.0)
        self._arrivals += 1
        job = Job(spec, arrived=now, order=self._arrivals, prompt_tokens=spec.prompt_tokens)
        self._jobs[spec.id] = job
        self._enqueue(job)

    def observe(self, job_id: str, progress: Progress) -> None:
        """The engine produced tokens, or told the prompt's true length."""
        job = self._jobs[job_id]
        job.produced = progress.produced
        if progress.prompt_tokens is not None:
            job.prompt_tokens = progress.prompt_tokens
        if job.engine_id is not None and job.context_tokens + BLOCK_TOKENS > job.reserved:
            grown = job.context_tokens + 2 * BLOCK_TOKENS - job.reserved
            job.reserved += grown
            self._engines[job.engine_id].grow(grown)

    def delivered(self, job_id: str, tokens: int) -> None:
        """So many tokens in all have been sent to the reader."""
        self._jobs[job_id].delivered = tokens

    def leg_ended(self, job_id: str, event: LegEnded) -> None:
        """The job's leg is over and its room free; the job waits again unless it was removed."""
        job = self._jobs[job_id]
        job.move(JobEvent.LEG_ENDED if job.produced else JobEvent.LEG_ENDED_FRESH)
        if job.engine_id is not None:
            self._engines[job.engine_id].free(job.reserved)
            if event.failed:
                job.avoid.add(job.engine_id)
        job.engine_id = None
        job.reserved = 0
        if job.state is JobState.ENDED:
            del self._jobs[job_id]
        else:
            self._enqueue(job)

    def remove(self, job_id: str) -> None:
        """Finished, failed or cancelled. Its leg, if any, holds its room until `leg_ended`."""
        job = self._jobs[job_id]
        job.move(JobEvent.REMOVE)
        if job_id in self._waiting:
            self._policy.discard(job)
            self._forget_waiting(job)
        if job.state is JobState.ENDED:
            del self._jobs[job_id]

    def engine(self, engine_id: str, capacity: EngineCapacity | None) -> None:
        """An engine came or changed; None: it left (its legs must have ended, else ValueError)."""
        if capacity is None:
            if legs := self._engines[engine_id].running:
                raise ValueError(f"engine {engine_id} cannot leave with {legs} legs")
            del self._engines[engine_id]
        elif engine_id in self._engines:
            self._engines[engine_id].capacity = capacity
        else:
            self._engines[engine_id] = EngineLoad(capacity)

    # ---- the decision

    def plan(self, now: float) -> Plan:
        """What to do now."""
        rejects = tuple(self._expire(now))
        starts: list[Start] = []
        resumes: list[Resume] = []
        aside: list[Job] = []
        while (job := self._policy.peek()) is not None:
            engine_id = self._place(job)
            if engine_id is None:
                if not self._waits_for_another_engine(job):
                    break
                self._policy.discard(job)
                aside.append(job)
                continue
            if job.state is JobState.PAUSED:
                resumes.append(Resume(job.spec.id, engine_id, Reason.ROOM))
            else:
                starts.append(Start(job.spec.id, engine_id, Reason.ROOM))
            self._policy.take(job)
            self._forget_waiting(job)
            job.move(JobEvent.PLACE)
            job.engine_id = engine_id
        for job in aside:
            self._policy.push(job)
        return Plan(start=tuple(starts), resume=tuple(resumes), reject=rejects, wake_at=self._wake_at())

    def running(self, engine_id: str) -> int:
        """Legs on this engine, those being stopped included."""
        return self._engines[engine_id].running

    def place_in_queue(self, job_id: str) -> int | None:
        """How many waiting jobs arrived before this one; None when it does not wait."""
        if job_id not in self._waiting:
            return None
        order = self._jobs[job_id].order
        return sum(1 for job in self._waiting.values() if job.order < order)

    # ---- inside

    def _enqueue(self, job: Job) -> None:
        self._waiting[job.spec.id] = job
        self._waiting_by_tenant[job.spec.tenant] = self._waiting_by_tenant.get(job.spec.tenant, 0) + 1
        self._policy.push(job)
        if job.state is JobState.QUEUED:
            heappush(self._deadlines, (job.arrived + self._limits.timeout_s, job.order, job.spec.id))

    def _forget_waiting(self, job: Job) -> None:
        tenant = job.spec.tenant
        del self._waiting[job.spec.id]
        self._waiting_by_tenant[tenant] -= 1
        if not self._waiting_by_tenant[tenant]:
            del self._waiting_by_tenant[tenant]

    def _place(self, job: Job) -> str | None:
        """The least loaded engine with room; takes the room.

        An engine that has failed this job gets it again only when no other one is ready: a broken engine is always
        idle, and would use up the job's attempts while a good one is just full.
        """
        need = self._need(job)
        best: tuple[bool, float, str] | None = None
        untried = False
        for engine_id, load in self._engines.items():
            failed = engine_id in job.avoid
            untried = untried or (load.capacity.ready and not failed)
            if load.fits(need):
                rank = (failed, load.share, engine_id)
                best = rank if best is None else min(best, rank)
        if best is None or (best[0] and untried):
            return None
        engine_id = best[2]
        self._engines[engine_id].take(need)
        job.reserved = need
        return engine_id

    def _waits_for_another_engine(self, job: Job) -> bool:
        """Whether an engine has room for the job and only its failure there keeps it away: others may go before it."""
        need = self._need(job)
        return any(load.fits(need) for engine_id, load in self._engines.items() if engine_id in job.avoid)

    def _need(self, job: Job) -> int:
        return tokens_to_reserve(job.context_tokens, job.prompt_tokens, job.spec.max_tokens, self._assumed_output)

    def _expire(self, now: float) -> Iterator[Reject]:
        while (deadline := self._wake_at()) is not None and deadline <= now:
            _, _, job_id = heappop(self._deadlines)
            self.remove(job_id)
            yield Reject(job_id, Reason.QUEUE_TIMEOUT)

    def _wake_at(self) -> float | None:
        """When the next job that never started runs out of time."""
        while self._deadlines:
            deadline, order, job_id = self._deadlines[0]
            job = self._waiting.get(job_id)
            if job is not None and job.order == order and job.state is JobState.QUEUED:
                return deadline
            heappop(self._deadlines)
        return None
