"""Each policy against the plainest model of itself, and the table of their names."""

from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gateway.core.capacity import EngineCapacity
from gateway.core.job import Job, JobSpec
from gateway.core.policies import DEFAULT_POLICY, POLICIES, find_policy
from gateway.core.policies.base import InOrder
from gateway.core.policies.fcfs import Fcfs
from gateway.core.policies.round_robin import RoundRobin
from gateway.core.policies.rpm import Rpm
from gateway.core.policies.vtc import Vtc
from gateway.core.roster import Roster
from gateway.core.tuning import Tuning
from gateway.errors import RateLimited
from tests.core.pool import scheduler, spec

TENANTS = ["a", "b", "c", "d"]


def job(order: int, tenant: str = "a") -> Job:
    return Job(JobSpec(f"job-{order}", tenant, 10), arrived=float(order), order=order)


class PolicyMachine(RuleBasedStateMachine):
    """Pushes, takes, discards and returns in any order; `expected` is the model's next job."""

    policy: ClassVar[type[InOrder]]
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.subject = self.policy(Roster(Tuning()))
        self.waiting: dict[int, Job] = {}
        self.orders = 0

    @rule(tenant=st.sampled_from(TENANTS))
    def arrive(self, tenant: str) -> None:
        self.orders += 1
        self.push(job(self.orders, tenant))

    @rule(target=taken)
    def start(self) -> Job | None:
        subject = self.subject.peek()
        if subject is not None:
            self.subject.take(subject)
            del self.waiting[subject.order]
            self.started(subject)
        return subject

    @rule(subject=consumes(taken))
    def come_back(self, subject: Job | None) -> None:
        if subject is not None:
            self.push(subject)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.waiting:
            subject = self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting))))
            self.subject.discard(subject)
            self.left(subject)

    @invariant()
    def next_is_as_expected(self) -> None:
        assert self.subject.peek() is self.expected()
        assert self.subject.peek() is self.expected()  # looking changes nothing

    def push(self, subject: Job) -> None:
        self.waiting[subject.order] = subject
        self.subject.push(subject)

    def started(self, subject: Job) -> None:
        """For the model."""

    def left(self, subject: Job) -> None:
        """For the model."""

    def expected(self) -> Job | None:
        raise NotImplementedError


class FcfsMachine(PolicyMachine):
    policy = Fcfs

    def expected(self) -> Job | None:
        return self.waiting[min(self.waiting)] if self.waiting else None


class RoundRobinMachine(PolicyMachine):
    """The model: a list of the tenants that wait; who is served, or begins to wait, goes to its end."""

    policy = RoundRobin

    def __init__(self) -> None:
        super().__init__()
        self.ring: list[str] = []

    def push(self, subject: Job) -> None:
        super().push(subject)
        if subject.spec.tenant not in self.ring:
            self.ring.append(subject.spec.tenant)

    def left(self, subject: Job) -> None:
        if all(other.spec.tenant != subject.spec.tenant for other in self.waiting.values()):
            self.ring.remove(subject.spec.tenant)

    def started(self, subject: Job) -> None:
        self.left(subject)
        if subject.spec.tenant in self.ring:
            self.ring.remove(subject.spec.tenant)
            self.ring.append(subject.spec.tenant)

    def expected(self) -> Job | None:
        if not self.ring:
            return None
        own = [order for order, each in self.waiting.items() if each.spec.tenant == self.ring[0]]
        return self.waiting[min(own)]


TestFcfs = FcfsMachine.TestCase
TestRoundRobin = RoundRobinMachine.TestCase
TestFcfs.settings = TestRoundRobin.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("backlog", [{"a": 30, "b": 30, "c": 30}, {"a": 300, "b": 3, "c": 30}])
def test_round_robin_gives_tenants_equal_turns(backlog: dict[str, int]) -> None:
    """While several tenants wait, none has started two jobs more than another, however many it has sent."""
    policy, order = RoundRobin(Roster(Tuning())), 0
    for tenant, jobs in backlog.items():
        for _ in range(jobs):
            order += 1
            policy.push(job(order, tenant))
    left, starts = Counter(backlog), Counter[str]()
    while (subject := policy.peek()) is not None:
        policy.take(subject)
        starts[subject.spec.tenant] += 1
        left[subject.spec.tenant] -= 1
        backlogged = [starts[tenant] for tenant in backlog if left[tenant]]
        assert not backlogged or max(backlogged) - min(backlogged) <= 1

    assert starts == Counter(backlog)


@pytest.mark.parametrize("kind", [Fcfs, RoundRobin, Vtc])
def test_the_dead_do_not_pile_up(kind: type[InOrder]) -> None:
    """A mass departure leaves no more behind than what waits, and a constant; the rest keeps its order."""
    policy = kind(Roster(Tuning()))
    jobs = [job(order) for order in range(1, 5001)]
    for each in jobs:
        policy.push(each)
    for each in jobs[10:]:
        policy.discard(each)
    if isinstance(policy, Fcfs):
        queue = policy._queue
    else:
        assert isinstance(policy, RoundRobin | Vtc)
        queue = policy._ring["a"] if isinstance(policy, RoundRobin) else policy._queues["a"]

    assert len(queue._heap) <= 2 * 10 + 64
    for each in jobs[:10]:
        assert policy.peek() is each
        policy.take(each)
    assert policy.peek() is None


def test_names_of_policies() -> None:
    """Those of the table, and a number of requests a minute; nothing else is taken for one."""
    assert all(find_policy(name) is rule for name, rule in POLICIES.items())
    assert DEFAULT_POLICY in POLICIES
    assert find_policy("rpm(20)").lifts
    for name in ("", "rpm", "rpm()", "rpm(0)", "rpm(-1)", "rpm(1.5)", "rpm(5", "(5)", "rpm(5))", "FCFS"):
        with pytest.raises(KeyError):
            find_policy(name)


def test_the_rank_for_an_engine_is_the_tenants_lead() -> None:
    """Who was served more ranks lower, whatever job it is; without anybody to compare with, all rank alike."""
    subject = scheduler("vtc", {"x": EngineCapacity(2)})
    for name, tenant in (("a", "much"), ("b", "little"), ("c", "much"), ("d", "little")):
        subject.add(spec(name, tenant), 0.0)
    subject.plan(0.0)
    subject.observe("a", 100, 1.0)
    assert (subject.priority("c"), subject.priority("d")) == (200, 0)
    for name in "cd":
        subject.remove(name, 1.0)
    assert (subject.priority("a"), subject.priority("b")) == (0, 0)


def test_tenants_that_asked_long_ago_are_no_burden_to_a_rate_limit() -> None:
    """Who asks within a minute is remembered, however many others come."""
    policy = Rpm(Roster(Tuning()), limit=1)
    for number in range(1000):
        policy.admit(spec("j", f"t{number}"), float(number))
    policy.admit(spec("j", "t900"), 1000.0)
    with pytest.raises(RateLimited) as refused:
        policy.admit(spec("j", "t999"), 1000.0)

    assert refused.value.retry_after_s == 59.0
    assert len(policy._accepted) == 60
