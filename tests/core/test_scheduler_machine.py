"""Random lives of a pool: whatever comes in whatever order, under every policy, the scheduler keeps its promises."""

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded, ReaderReport
from gateway.core.job import JobSpec
from gateway.core.pace import MACHINE, Pace
from gateway.core.policies import POLICIES
from gateway.core.scheduler import Scheduler
from gateway.errors import QueueFull, QueueShareFull, RateLimited
from tests.core.books import LIMITS, Books
from tests.core.pool import begun, scheduler

TICK_S = 0.05
RPM = "rpm(2)"
STRICT = {"fcfs", "round_robin", "lcf", "vtc", "vtc_predict", RPM}
"""Policies that pass nobody over but who waits for another engine."""
ENGINES = st.sampled_from(["x", "y", "z"])
CAPACITIES = st.builds(
    EngineCapacity, st.integers(1, 3), st.none() | st.integers(100, 2000), st.sampled_from([True, True, True, False])
)
PACES = st.sampled_from(
    [
        MACHINE,
        Pace("reading", 1.0, 4.0),
        Pace("reading", 0.0, 0.5),
        Pace("listening", 3.0, 3.0, start_units=5.0),
        Pace("custom", 0.5, 200.0),
        Pace("media", 2.0, 1.0, unit="second"),
    ]
)
SPECS = st.builds(
    partial(JobSpec, "?"),
    tenant=st.sampled_from("abc"),
    prompt_tokens=st.integers(1, 300) | st.integers(1, 2500),
    max_tokens=st.none() | st.integers(1, 300),
    weight=st.sampled_from([1.0, 1.0, 3.0]),
    pace=PACES,
    resumable=st.sampled_from([True, True, False]),
    known_output=st.none() | st.integers(0, 300),
)


class SchedulerMachine(RuleBasedStateMachine):
    """Drives two schedulers with the same events and keeps books of its own."""

    def __init__(self, policy: str) -> None:
        super().__init__()
        self.policy = policy
        self.subject, self.twin = (
            scheduler(policy, limits=LIMITS, cap=3.0, age_s=3.0, age_share=0.3, tick_s=TICK_S) for _ in range(2)
        )
        self.now = 0.0
        self.books = Books()
        self.accepted: list[tuple[str, float]] = []

    def both(self, event: Callable[[Scheduler], object]) -> None:
        for each in (self.subject, self.twin):
            event(each)

    # ---- what happens

    @rule(spec=SPECS)
    def arrive(self, spec: JobSpec) -> None:
        books = self.books
        spec = JobSpec(**{**{name: getattr(spec, name) for name in spec.__slots__}, "id": f"job-{len(books.specs)}"})
        lately = sum(tenant == spec.tenant and self.now - at < 60 for tenant, at in self.accepted)
        expected = self.queue_says(spec.tenant)
        if expected is None and self.policy == RPM and lately >= 2:
            expected = RateLimited
        if expected is None:
            self.both(lambda each: each.add(spec, self.now))
            books.add(spec, self.now)
            self.accepted.append((spec.tenant, self.now))
            return
        for each in (self.subject, self.twin):
            with pytest.raises(expected):
                each.add(spec, self.now)

    def queue_says(self, tenant: str) -> type[Exception] | None:
        """How one more of this tenant that was never started would be refused."""
        fresh = [self.books.specs[job].tenant for job in self.books.queued()]
        if len(fresh) >= LIMITS.max_jobs:
            return QueueFull
        return QueueShareFull if fresh.count(tenant) >= LIMITS.max_jobs_per_tenant else None

    @precondition(lambda self: self.books.present())
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.books.present()))
        if job in self.books.parked:
            return
        self.both(lambda each: each.park(job, self.now))
        self.books.park(job, self.now)

    @precondition(lambda self: self.books.parked)
    @rule(data=st.data())
    def unpark(self, data: st.DataObject) -> None:
        """Neither charges nor lifts anybody."""
        books = self.books
        job = data.draw(st.sampled_from(sorted(books.parked)))
        waits_anew = not books.produced[job] and job not in books.running
        expected = self.queue_says(books.specs[job].tenant) if waits_anew else None
        if expected is not None:
            for each in (self.subject, self.twin):
                with pytest.raises(expected):
                    each.unpark(job, self.now)
            return
        before = self.accounts()
        self.both(lambda each: each.unpark(job, self.now))
        books.unpark(job, self.now, reads_on=self.policy not in STRICT)
        assert self.accounts() == before

    @precondition(lambda self: self.books.present())
    @rule(data=st.data())
    def cannot_resume(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.books.present()))
        self.both(lambda each: each.cannot_resume(job, self.now))
        self.books.cannot_resume(job)

    def accounts(self) -> dict[str, tuple[float, float]]:
        """What every tenant was charged and lifted."""
        return {each.tenant: (each.counter, each.lifted) for each in self.subject._roster.counters}

    @rule(name=ENGINES, capacity=CAPACITIES)
    def engine_changes(self, name: str, capacity: EngineCapacity) -> None:
        self.books.engines[name] = capacity
        self.both(lambda each: each.engine(name, capacity, self.now))

    @precondition(lambda self: self.books.engines)
    @rule(data=st.data(), at_once=st.booleans())
    def engine_is_lost(self, data: st.DataObject, at_once: bool) -> None:
        """Its legs fail, then it leaves, or stays without being ready."""
        name = data.draw(st.sampled_from(sorted(self.books.engines)))
        gone = EngineCapacity(1, ready=False)
        self.both(lambda each: each.engine(name, gone, self.now))
        for job in [job for job, where in self.books.running.items() if where == name]:
            self.end_leg(job, failed=True)
        if at_once:
            del self.books.engines[name]
            self.both(lambda each: each.engine(name, None, self.now))
        else:
            self.books.engines[name] = gone

    @precondition(lambda self: self.books.running.keys() - self.books.parked.keys())
    @rule(data=st.data(), more=st.integers(0, 200), sent=st.booleans(), prompt=st.none() | st.integers(1, 2500))
    def produce(self, data: st.DataObject, more: int, sent: bool, prompt: int | None) -> None:
        job = data.draw(st.sampled_from(sorted(self.books.running.keys() - self.books.parked.keys())))
        total = self.books.produced[job] = self.books.produced[job] + more
        self.both(lambda each: each.observe(job, total, self.now, prompt_tokens=prompt))
        if sent:
            self.both(lambda each: each.delivered(job, total, self.now))

    @precondition(lambda self: self.books.running)
    @rule(data=st.data(), failed=st.booleans())
    def leg_ends(self, data: st.DataObject, failed: bool) -> None:
        self.end_leg(data.draw(st.sampled_from(sorted(self.books.running))), failed=failed)

    @precondition(lambda self: self.books.stopping | self.books.leaving)
    @rule()
    def what_was_stopped_ends(self) -> None:
        for job in sorted(self.books.stopping | self.books.leaving):
            self.end_leg(job, failed=False)

    def end_leg(self, job: str, *, failed: bool) -> None:
        self.books.leg_ended(job, failed=failed)
        self.both(lambda each: each.leg_ended(job, LegEnded(failed), self.now))

    @precondition(lambda self: self.books.present())
    @rule(data=st.data(), finished=st.booleans())
    def remove(self, data: st.DataObject, finished: bool) -> None:
        self.give_up(data.draw(st.sampled_from(self.books.present())), finished=finished)

    def give_up(self, job: str, *, finished: bool) -> None:
        self.books.remove(job)
        self.both(lambda each: each.remove(job, self.now, finished=finished))

    @precondition(lambda self: self.books.present())
    @rule(data=st.data(), visible=st.booleans(), shown=st.none() | st.floats(0, 300), delay_s=st.floats(0, 2))
    def reader_reports(self, data: st.DataObject, visible: bool, shown: float | None, delay_s: float) -> None:
        job = data.draw(st.sampled_from(self.books.present()))
        report = ReaderReport(visible, shown, delay_s, delay_s / 2)
        self.both(lambda each: each.reader(job, report, self.now))

    @rule(seconds=st.sampled_from([0.0, TICK_S, 0.3, 1.0, 4.0, 11.0]))
    def decide(self, seconds: float) -> None:
        self.now += seconds
        if self.policy != "vtc_predict":  # what the last outputs were is forgotten too
            self.twin.counters.forget()  # and nobody can tell
        oldest_first = sorted(self.books.waiting, key=list(self.books.specs).index)
        plan = self.subject.plan(self.now)
        assert plan == self.twin.plan(self.now)  # same events, same plans
        tick_s = None if self.policy in STRICT else TICK_S
        self.books.perform(plan, self.subject, self.now, tick_s)
        if self.policy == "fcfs":
            starts = {each.job_id for each in begun(plan)}
            kept = [job for job in oldest_first if job in starts or job in self.books.waiting]
            assert len(starts) == len(kept) or not starts & self.after_the_first_that_waits(kept, starts)
        self.nobody_waits_for_an_idle_engine()

    def after_the_first_that_waits(self, kept: list[str], starts: set[str]) -> set[str]:
        """Whom first come, first served may not start: those behind one that no engine had failed."""
        jobs = self.subject._roster.jobs
        stuck = next((job for job in kept if job not in starts and not jobs[job].avoid), kept[-1])
        return set(kept[kept.index(stuck) + 1 :])

    # ---- what must hold

    def nobody_waits_for_an_idle_engine(self) -> None:
        """Unless it failed the job and another one may do better, or the job gets the place of one that is stopped."""
        jobs, fleet = self.subject._roster.jobs, self.subject._roster.fleet
        ready = {name for name, capacity in self.books.engines.items() if capacity.ready}
        promised = 0 if self.policy in STRICT else sum(len(fleet[name].stopping) for name in ready)
        for name in ready:
            if not fleet[name].legs:
                elsewhere = {job for job in self.books.waiting if name in jobs[job].avoid and ready - jobs[job].avoid}
                assert len(self.books.waiting) - len(elsewhere) <= promised

    @invariant()
    def books_agree(self) -> None:
        self.books.agree(self.subject)

    def teardown(self) -> None:
        """Let everybody finish: all that arrived has left, once, and nothing is held."""
        books = self.books
        for name in sorted(books.engines):
            self.engine_changes(name, EngineCapacity(1, ready=name == "x"))
        self.engine_changes("x", EngineCapacity(1))
        for job in sorted(books.parked):
            self.give_up(job, finished=False)
        for job in sorted(books.stopping):
            self.end_leg(job, failed=False)
        for _ in range(2 * len(books.specs) + 1):
            for job in sorted(books.running):
                if job not in books.leaving:
                    self.give_up(job, finished=True)
                self.end_leg(job, failed=False)
            self.decide(TICK_S)
        self.books_agree()
        assert sorted(books.left) == sorted(books.specs)
        assert all((load.running, load.tokens) == (0, 0) for load in self.subject._roster.fleet)


@pytest.mark.parametrize("policy", [*POLICIES, RPM])
def test_a_pool_keeps_its_promises(policy: str) -> None:
    """See the machine; 40 events in each life."""
    machine = cast("type[RuleBasedStateMachine]", partial(SchedulerMachine, policy))  # any maker of a machine will do
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )
