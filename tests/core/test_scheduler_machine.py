"""Random lives of a pool: whatever comes in whatever order, the scheduler keeps its promises."""

import copy
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.capacity import WATERMARK, EngineCapacity, tokens_to_reserve
from gateway.core.job import JobSpec, JobState
from gateway.core.plan import Plan, Resume, Start
from gateway.core.policies import POLICIES
from gateway.core.scheduler import LegEnded, Progress, QueueLimits, Scheduler
from gateway.errors import QueueFull, QueueShareFull

LIMITS = QueueLimits(max_jobs=8, max_jobs_per_tenant=4, timeout_s=10.0)
ASSUMED = 100
ENGINES = ["x", "y", "z"]
CAPACITIES = st.builds(
    EngineCapacity, st.integers(1, 3), st.none() | st.integers(100, 2000), st.sampled_from([True, True, True, False])
)


def begun_in(plan: Plan) -> tuple[Start | Resume, ...]:
    """Both kinds of a leg's beginning."""
    return (*plan.start, *plan.resume)


class SchedulerMachine(RuleBasedStateMachine):
    """Drives two schedulers with the same events and keeps its own books of who waits, runs and has left."""

    policy: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.subject, self.twin = (
            Scheduler(POLICIES[self.policy](), LIMITS, assumed_output_tokens=ASSUMED) for _ in range(2)
        )
        self.now = 0.0
        self.engines: dict[str, EngineCapacity] = {}
        self.waiting: dict[str, JobSpec] = {}
        self.arrived: dict[str, float] = {}
        self.running: dict[str, str] = {}  # job -> engine, those that are leaving included
        self.leaving: set[str] = set()
        self.produced: dict[str, int] = {}
        self.specs: dict[str, JobSpec] = {}
        self.left: list[str] = []

    # ---- what happens

    @rule(tenant=st.sampled_from("abc"), prompt=st.integers(1, 2500), limit=st.none() | st.integers(1, 300))
    def arrive(self, tenant: str, prompt: int, limit: int | None) -> None:
        spec = JobSpec(f"job-{len(self.specs)}", tenant, prompt, limit)
        own = sum(1 for each in self.waiting.values() if each.tenant == tenant)
        refused: type[Exception] | None = None
        for scheduler in (self.subject, self.twin):
            try:
                scheduler.add(spec, self.now)
            except (QueueFull, QueueShareFull) as error:
                refused = type(error)
        if len(self.waiting) >= LIMITS.max_jobs:
            assert refused is QueueFull
        elif own >= LIMITS.max_jobs_per_tenant:
            assert refused is QueueShareFull
        else:
            assert refused is None
            self.specs[spec.id] = self.waiting[spec.id] = spec
            self.arrived[spec.id] = self.now
            self.produced[spec.id] = 0

    @rule(name=st.sampled_from(ENGINES), capacity=CAPACITIES)
    def engine_changes(self, name: str, capacity: EngineCapacity) -> None:
        self.engines[name] = capacity
        for scheduler in (self.subject, self.twin):
            scheduler.engine(name, capacity)

    @rule(name=st.sampled_from(ENGINES))
    def engine_leaves(self, name: str) -> None:
        if name in self.engines and name not in self.running.values():
            del self.engines[name]
            for scheduler in (self.subject, self.twin):
                scheduler.engine(name, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), more=st.integers(0, 200), prompt=st.none() | st.integers(1, 2500))
    def produce(self, data: st.DataObject, more: int, prompt: int | None) -> None:
        job = data.draw(st.sampled_from(sorted(self.running)))
        self.produced[job] += more
        for scheduler in (self.subject, self.twin):
            scheduler.observe(job, Progress(self.produced[job], prompt))
            scheduler.delivered(job, self.produced[job])

    @precondition(lambda self: self.running)
    @rule(data=st.data(), failed=st.booleans())
    def leg_ends(self, data: st.DataObject, failed: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[job]
        if job in self.leaving:
            self.leaving.remove(job)
            self.left.append(job)
        else:
            self.waiting[job] = self.specs[job]
        for scheduler in (self.subject, self.twin):
            scheduler.leg_ended(job, LegEnded(failed))

    @precondition(lambda self: self.waiting or set(self.running) - self.leaving)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(sorted({*self.waiting, *self.running} - self.leaving)))
        for scheduler in (self.subject, self.twin):
            scheduler.remove(job)
        if self.waiting.pop(job, None) is not None:
            self.left.append(job)
        else:
            self.leaving.add(job)

    @rule(seconds=st.sampled_from([0.0, 0.0, 1.0, 4.0, 11.0]))
    def decide(self, seconds: float) -> None:
        self.now += seconds
        oldest_first = sorted(self.waiting, key=lambda job: self.subject._jobs[job].order)
        plan = self.subject.plan(self.now)
        assert plan == self.twin.plan(self.now)  # same events, same plans
        self.check_rejects(plan)
        self.check_starts(plan)
        if self.policy == "fcfs":
            begun = {each.job_id for each in begun_in(plan)}
            kept = [job for job in oldest_first if job in begun or job in self.waiting]
            assert set(kept[: len(begun)]) == begun
        self.check_nobody_waits_for_nothing()
        assert not self.subject.plan(self.now)  # all that could be done was done

    # ---- what must hold

    def check_rejects(self, plan: Plan) -> None:
        """Exactly those that never produced a token and have waited long enough; `wake_at` is the next of them."""
        fresh = {job: self.arrived[job] + LIMITS.timeout_s for job in self.waiting if not self.produced[job]}
        overdue = {job for job, deadline in fresh.items() if deadline <= self.now}
        assert [each.job_id for each in plan.reject] == sorted(overdue, key=self.subject_order)
        for job in overdue:
            del self.waiting[job]
            self.left.append(job)
        started = {each.job_id for each in plan.start}
        assert plan.wake_at == min((fresh[job] for job in fresh.keys() - overdue - started), default=None)

    def subject_order(self, job: str) -> int:
        return int(job.removeprefix("job-"))

    def check_starts(self, plan: Plan) -> None:
        """Only who waits starts, on an engine that is ready, and within its bounds when all have started."""
        for each in begun_in(plan):
            del self.waiting[each.job_id]
            assert self.engines[each.engine_id].ready
            assert (each in plan.resume) == bool(self.produced[each.job_id])
            self.running[each.job_id] = each.engine_id
        for name in {each.engine_id for each in begun_in(plan)}:
            capacity, load = self.engines[name], self.subject._engines[name]
            assert load.running <= capacity.max_running
            assert capacity.kv_tokens is None or load.tokens <= WATERMARK * capacity.kv_tokens or load.running == 1

    def check_nobody_waits_for_nothing(self) -> None:
        """Whose turn it is fits no engine that may have it; who only waits for another engine lets others by."""
        policy = copy.deepcopy(self.subject._policy)
        assert (policy.peek() is None) == (not self.waiting)
        ready = [name for name, capacity in self.engines.items() if capacity.ready]
        while (head := policy.peek()) is not None:
            need = tokens_to_reserve(head.context_tokens, head.prompt_tokens, head.spec.max_tokens, ASSUMED)
            room = {name for name in ready if self.subject._engines[name].fits(need)}
            untried = set(ready) - head.avoid
            assert not room & (untried or set(ready))
            if not room & head.avoid:
                break
            policy.discard(head)

    @invariant()
    def books_agree(self) -> None:
        """Everyone is in exactly one place, and an engine holds what its own legs reserved, no more, no less."""
        jobs = self.subject._jobs
        assert len(self.subject) == len(jobs) == len(self.waiting) + len(self.running)
        assert set(jobs) == {*self.waiting, *self.running}
        assert self.subject.waiting == len(self.waiting)
        assert sorted(self.left) == sorted(set(self.left)) == sorted(self.specs.keys() - jobs.keys())
        for name, load in self.subject._engines.items():
            legs = [job for job, where in self.running.items() if where == name]
            assert load.running == self.subject.running(name) == len(legs)
            assert load.tokens == sum(jobs[job].reserved for job in legs)
            assert all(jobs[job].reserved >= jobs[job].context_tokens for job in legs)
        for name, job in jobs.items():
            assert (job.state is JobState.LEAVING) == (name in self.leaving)
            assert job.engine_id == self.running.get(name)
            assert (self.subject.place_in_queue(name) is None) == (name not in self.waiting)

    def teardown(self) -> None:
        """Let everybody finish: all that arrived has left, once, and nothing is held."""
        self.engine_changes("x", EngineCapacity(1))
        while self.waiting or self.running:
            for job in list(self.running):
                if job not in self.leaving:
                    self.leaving.add(job)
                    for scheduler in (self.subject, self.twin):
                        scheduler.remove(job)
                del self.running[job]
                self.leaving.remove(job)
                self.left.append(job)
                for scheduler in (self.subject, self.twin):
                    scheduler.leg_ended(job, LegEnded())
            self.decide(0.0)
        self.books_agree()
        assert sorted(self.left) == sorted(self.specs)
        assert all((load.running, load.tokens) == (0, 0) for load in self.subject._engines.values())
        assert self.subject._waiting_by_tenant == {}


class FcfsMachine(SchedulerMachine):
    policy = "fcfs"


class RoundRobinMachine(SchedulerMachine):
    policy = "round_robin"


TestFcfs = FcfsMachine.TestCase
TestRoundRobin = RoundRobinMachine.TestCase
TestFcfs.settings = TestRoundRobin.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
