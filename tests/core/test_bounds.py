"""The bounds of VTC (arXiv 2401.00588, section 4.1) on random traffic: spread, gap, waiting, no idle engine.

U = max(w_p * longest prompt, w_q * M) / the smallest weight, M being all tokens that the pool can hold; with prediction
w_q * the largest prediction more. Weights of tokens: input 1, output 2.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.capacity import EngineCapacity
from gateway.core.job import JobSpec
from tests.core.pool import PATIENT, finish, scheduler

PROMPT, OUTPUT, SEATS = 60, 40, 3


@dataclass(frozen=True)
class Traffic:
    """Jobs as (iteration of arrival, tenant, prompt, answer); some tenants' weights; seats of each engine."""

    jobs: list[tuple[int, str, int, int]]
    weights: dict[str, float]
    engines: list[int]

    @property
    def bound(self) -> float:
        memory = sum(self.engines) * (PROMPT + OUTPUT)
        return max(PROMPT, 2 * memory) / min(self.weights.values())


TRAFFIC = st.builds(
    Traffic,
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from("abc"), st.integers(1, PROMPT), st.integers(1, OUTPUT)),
        min_size=5,
        max_size=60,
    ),
    st.fixed_dictionaries({name: st.sampled_from([1.0, 2.0]) for name in "abc"}),
    st.lists(st.integers(1, SEATS), min_size=1, max_size=2),
)


@dataclass
class Drive:
    """A pool in which every job gets a token an iteration; `service` is counted here, apart from the scheduler."""

    traffic: Traffic
    policy: str = "vtc"
    service: dict[str, float] = field(default_factory=lambda: dict.fromkeys("abc", 0.0))
    samples: list[tuple[dict[str, float], set[str]]] = field(default_factory=list)  # service, backlogged after a plan
    waits: list[tuple[str, float]] = field(default_factory=list)  # others' service while a tenant's first job waited
    widest: float = 0.0  # the largest spread of the backlogged tenants' counters

    def __post_init__(self) -> None:
        engines = {f"e{number}": EngineCapacity(seats) for number, seats in enumerate(self.traffic.engines)}
        self.subject = scheduler(self.policy, engines, PATIENT, assumed_output_tokens=OUTPUT)
        self.answers: dict[str, int] = {}
        self.specs: dict[str, JobSpec] = {}
        self.running: dict[str, int] = {}
        self.first: dict[str, tuple[str, float]] = {}  # tenant -> the job that made it backlogged, service until then

    def run(self) -> "Drive":
        pending = sorted(self.traffic.jobs, key=lambda job: job[0])
        iteration = 0
        while pending or self.answers:
            while pending and pending[0][0] <= iteration:
                self._arrive(*pending.pop(0)[1:], float(iteration))
            self._plan(float(iteration))
            self._iterate(float(iteration))
            iteration += 1
            assert iteration < 5000, "somebody starves"
        return self

    def _arrive(self, tenant: str, prompt: int, answer: int, now: float) -> None:
        name = f"job-{len(self.specs)}"
        if tenant not in self.subject.backlogged():
            self.first[tenant] = name, self._others(tenant)
        spec = JobSpec(name, tenant, prompt, OUTPUT, self.traffic.weights[tenant])
        self.specs[name], self.answers[name] = spec, answer
        self.subject.add(spec, now)

    def _others(self, tenant: str) -> float:
        return sum(self.service[name] for name in "abc" if name != tenant)

    def _plan(self, now: float) -> None:
        for move in self.subject.plan(now).start:
            spec = self.specs[move.job_id]
            self.running[move.job_id] = 0
            first = self.first.get(spec.tenant)
            if first is not None and first[0] == move.job_id:
                self.waits.append((spec.tenant, self._others(spec.tenant) - first[1]))
            self.service[spec.tenant] += spec.prompt_tokens / spec.weight
        full = all(self.subject.running(f"e{number}") == seats for number, seats in enumerate(self.traffic.engines))
        assert full or not self.subject.waiting  # an engine never idles while somebody waits
        self._sample()

    def _sample(self) -> None:
        self.samples.append((dict(self.service), self.subject.backlogged()))
        counters = [account.counter for account in self.subject._roster.counters.backlog()]
        self.widest = max(self.widest, max(counters, default=0.0) - min(counters, default=0.0))

    def _iterate(self, now: float) -> None:
        for job in list(self.running):
            self.running[job] += 1
            spec = self.specs[job]
            self.service[spec.tenant] += 2 / spec.weight
            self.subject.observe(job, self.running[job], now)
            if self.running[job] == self.answers[job]:
                finish(self.subject, job, now)
                del self.running[job], self.answers[job]

    def gap(self) -> float:
        """The largest change of two tenants' difference over a span in which both were backlogged throughout."""
        largest = 0.0
        for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
            low, high = float("inf"), float("-inf")
            for service, backlogged in self.samples:
                if not {one, other} <= backlogged:
                    low, high = float("inf"), float("-inf")
                    continue
                difference = service[one] - service[other]
                low, high = min(low, difference), max(high, difference)
                largest = max(largest, high - low)
        return largest


@settings(deadline=None, max_examples=60)
@given(TRAFFIC)
def test_backlogged_tenants_stay_near_each_other(traffic: Traffic) -> None:
    """Counters within U, service within 2U over any interval (lemma 4.3, theorem 4.4)."""
    drive = Drive(traffic).run()

    assert drive.widest <= traffic.bound
    assert drive.gap() <= 2 * traffic.bound


@settings(deadline=None, max_examples=40)
@given(TRAFFIC)
def test_prediction_widens_the_bound_by_the_prediction_only(traffic: Traffic) -> None:
    """The largest prediction is the longest answer; what was reserved too much comes back."""
    drive = Drive(traffic, "vtc_predict").run()
    bound = traffic.bound + 2 * OUTPUT / min(traffic.weights.values())

    assert drive.widest <= bound
    assert drive.gap() <= 2 * bound


@settings(deadline=None, max_examples=60)
@given(TRAFFIC)
def test_a_tenant_that_comes_waits_for_a_bounded_amount_of_others_work(traffic: Traffic) -> None:
    """From its arrival to its first start the two others get at most 2(n-1)U (theorem 4.7)."""
    drive = Drive(traffic).run()

    assert all(others <= 2 * 2 * traffic.bound for _, others in drive.waits)


@pytest.mark.parametrize("policy", ["vtc", "vtc_predict", "lcf", "round_robin", "fcfs", "lqsf", "andes", "fair_qoe"])
@settings(deadline=None, max_examples=15)
@given(traffic=TRAFFIC)
def test_every_job_ends_and_no_engine_idles(policy: str, traffic: Traffic) -> None:
    """Whatever the policy; and in the end each tenant got exactly what its jobs cost."""
    drive = Drive(traffic, policy).run()
    due = dict.fromkeys("abc", 0.0)
    for _, tenant, prompt, answer in traffic.jobs:
        due[tenant] += (prompt + 2 * answer) / traffic.weights[tenant]

    assert drive.service == pytest.approx(due)


def test_who_comes_back_is_lifted_to_the_least_and_not_to_the_most() -> None:
    """Counters a 300, b 100 while both wait: c starts at 100, so b and c, equal, share what comes next."""
    subject = scheduler("vtc", {"e": EngineCapacity(2)}, PATIENT)
    for name, prompt in (("a", 300), ("b", 100)):
        subject.add(JobSpec(f"{name}1", name, prompt), 0.0)
    for name in ("a", "b"):
        subject.add(JobSpec(f"{name}2", name, 10), 0.0)
    subject.plan(0.0)
    subject.add(JobSpec("c1", "c", 10), 0.0)
    counters = {account.tenant: account.counter for account in subject._roster.counters}
    assert counters == {"a": 300.0, "b": 100.0, "c": 100.0}
    finish(subject, "a1", 1.0)
    finish(subject, "b1", 1.0)

    assert {move.job_id for move in subject.plan(1.0).start} == {"b2", "c1"}


def test_what_was_reserved_and_not_produced_is_refunded() -> None:
    """A tenant whose answers had 100 tokens is charged 200 ahead, and gets 180 back for an answer of 10."""
    subject = scheduler("vtc_predict", {"e": EngineCapacity(1)}, PATIENT)
    account = subject._roster.counters.account("a")
    for name, answer, ahead, charged in (("a1", 100, 0, 200), ("a2", 10, 200, 20)):
        before = account.counter
        subject.add(JobSpec(name, "a", 1), 0.0)
        subject.plan(0.0)
        assert account.counter - before == 1 + ahead
        subject.observe(name, answer, 1.0)
        finish(subject, name, 1.0)
        assert account.counter - before == 1 + charged
