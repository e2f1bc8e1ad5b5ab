"""What holds of counters in any history: bounds, rebasing, and deltas in any order."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.accounts import Delta, Totals
from gateway.core.bills import Bill, Cashier
from gateway.core.counters import Counters

TENANTS = ("a", "b", "c", "d")
Step = tuple[str, str, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "settle", "charge", "charge"]), st.sampled_from(TENANTS), st.integers(-20, 200)
    ),
    max_size=60,
)


def act(counters: Counters, step: Step) -> None:
    name, tenant, amount = step
    if name == "arrive":
        counters.arrive(tenant)
    elif name == "charge":
        counters.charge(counters.account(tenant), amount)
    elif counters.backlogged(tenant):
        counters.settle(tenant)


def differences(counters: Counters) -> dict[str, float]:
    """Counters without their origin."""
    return {t: counters.account(t).counter - counters.account("a").counter for t in TENANTS}


@given(steps=STEPS, every=st.integers(1, 10))
def test_rebasing_changes_nothing_that_is_asked(steps: list[Step], every: int) -> None:
    """Same order, lags, lifts and deltas, whether and whenever it is done."""
    plain, rebased = Counters(), Counters()
    for i, step in enumerate(steps):
        for counters in (plain, rebased):
            act(counters, step)
        if i % every == 0:
            rebased.rebase()
        assert plain.smallest() == rebased.smallest()
        assert [plain.lag(t) for t in TENANTS] == [rebased.lag(t) for t in TENANTS]
    if rebased.backlogged_tenants:
        rebased.rebase()
        assert rebased.floor() == 0.0

    assert differences(plain) == differences(rebased)
    assert plain.take_delta() == rebased.take_delta()
    assert plain.snapshot() == rebased.snapshot()


@given(steps=STEPS)
def test_the_smallest_is_the_smallest(steps: list[Step]) -> None:
    """The heap's answer is a plain search's."""
    counters = Counters()
    for step in steps:
        act(counters, step)
        expected = min(counters.backlog(), key=lambda a: (a.counter, a.since), default=None)

        assert counters.smallest() == (expected.tenant if expected else None)
        assert counters.backlogged_tenants == len(list(counters.backlog()))


@dataclass
class Tenancy:
    """Jobs as a pool has them, over counters that forget after every event, or never."""

    forgets: bool
    counters: Counters = field(default_factory=Counters)
    queued: list[str] = field(default_factory=list)
    running: list[tuple[str, Bill]] = field(default_factory=list)
    paused: list[tuple[str, Bill]] = field(default_factory=list)

    def act(self, name: str, tenant: str, amount: int) -> None:
        counters, cashier = self.counters, Cashier(self.counters)
        if name == "arrive":
            counters.enter(tenant)
            counters.arrive(tenant)
            self.queued.append(tenant)
        elif name == "start" and self.queued:
            chosen = self.queued.pop(amount % len(self.queued))
            self.running.append((chosen, cashier.select(chosen, amount)))
            counters.settle(chosen)
        elif name == "pause" and self.running:
            self.paused.append(self.running.pop(amount % len(self.running)))
            counters.want(self.paused[-1][0])
        elif name == "resume" and self.paused:
            self.running.append(self.paused.pop(amount % len(self.paused)))
            counters.settle(self.running[-1][0])
        elif name == "correct" and self.running:
            cashier.correct(self.running[amount % len(self.running)][1], prompt=amount)
        elif name == "produce" and self.running:
            bill = self.running[amount % len(self.running)][1]
            cashier.produced(bill, bill.produced + amount)
        elif name == "finish" and self.running:
            chosen, bill = self.running.pop(amount % len(self.running))
            cashier.close(bill)
            counters.leave(chosen)
        if self.forgets:
            counters.forget()

    def seen(self) -> object:
        """What decisions go by."""
        counters = self.counters
        ahead = {account.tenant: counters.lag(account.tenant) for account in counters.present()}
        return counters.smallest(), counters.floor(), ahead, [account.tenant for account in counters.backlog()]


EVENTS = ["arrive", "arrive", "start", "start", "pause", "resume", "correct", "produce", "finish", "finish"]


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 150))
def test_nothing_that_is_decided_tells_who_was_forgotten(seed: int, length: int) -> None:
    """Same order, floors and leads, whoever is dropped whenever that may be."""
    chance = Random(seed)
    remembers, forgets = Tenancy(forgets=False), Tenancy(forgets=True)
    for _ in range(length):
        event = chance.choice(EVENTS), chance.choice("abcde"), chance.randint(0, 200)
        for each in (remembers, forgets):
            each.act(*event)
        assert remembers.seen() == forgets.seen()
    assert len(forgets.counters) <= len(remembers.counters)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), gateways=st.integers(2, 4), length=st.integers(0, 80))
def test_deltas_commute(seed: int, gateways: int, length: int) -> None:
    """Gateways that have heard the same agree, in whatever order, rebased or not; one that begins with a snapshot
    agrees too."""
    chance = Random(seed)
    all_counters = [Counters() for _ in range(gateways)]
    sent: list[tuple[int, Delta]] = []
    for _ in range(length):
        source = chance.randrange(gateways)
        name = chance.choice(["arrive", "settle", "charge"])
        act(all_counters[source], (name, chance.choice(TENANTS), chance.randint(-20, 200)))
        if chance.random() < 0.2:
            sent.append((source, all_counters[source].take_delta()))
        if chance.random() < 0.1:
            all_counters[source].rebase()
    sent += [(source, counters.take_delta()) for source, counters in enumerate(all_counters)]
    for target, counters in enumerate(all_counters):
        chance.shuffle(sent)
        for source, delta in sent:
            if source != target:
                counters.merge(str(source), delta)
    late = Counters()
    late.correct(all_counters[0].snapshot())

    for counters in (*all_counters[1:], late):
        assert differences(counters) == pytest.approx(differences(all_counters[0]))


class Neighbours:
    """Gateways that hear all of each other at once, and their store; eras are known to each at its own time."""

    def __init__(self, count: int) -> None:
        self.all = [Counters() for _ in range(count)]
        self.store = Totals()

    def begin_era(self, number: int, era: int) -> None:
        if all(each._telling.era < era for each in self.all):
            self.store.turn()
        self.all[number].begin_era(era)
        self.all[number].forget()

    def act(self, number: int, step: Step) -> None:
        name, tenant, amount = step
        counters = self.all[number]
        if name == "arrive":
            counters.arrive(tenant)
        elif name == "settle" and counters.backlogged(tenant):
            counters.charge(counters.account(tenant), amount)
            counters.settle(tenant)
        self.tell(number)

    def tell(self, number: int) -> None:
        delta = self.all[number].take_delta()
        self.store.add(delta)
        for other, each in enumerate(self.all):
            if other != number:
                each.merge(str(number), delta)

    def late(self) -> Counters:
        """Who begins now."""
        counters = Counters()
        counters.correct(self.store.sums())
        return counters


def absolute(counters: Counters) -> dict[str, float]:
    """What is known of everybody, from the common origin."""
    return {account.tenant: account.counter + counters._origin for account in counters}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), gateways=st.integers(1, 3), length=st.integers(0, 120))
def test_gateways_that_forget_know_what_gateways_that_remember_know(seed: int, gateways: int, length: int) -> None:
    """Of everybody whom they have not forgotten; and the store knows it of those whom it has not forgotten."""
    chance = Random(seed)
    remember, forget = Neighbours(gateways), Neighbours(gateways)
    eras = [1] * gateways
    for number in range(gateways):
        forget.begin_era(number, 1)
    for _ in range(length):
        number = chance.randrange(gateways)
        if chance.random() < 0.2 and eras[number] <= min(eras):
            eras[number] += 1
            forget.begin_era(number, eras[number])
        step = chance.choice(["arrive", "settle"]), chance.choice("abcdef"), float(chance.randint(0, 200))
        for each in (remember, forget):
            each.act(number, step)
        known = absolute(remember.all[0])
        for counters in (*forget.all, forget.late()):
            for tenant, counter in absolute(counters).items():
                assert counter == pytest.approx(known.get(tenant, 0.0))
        assert [each.smallest() for each in remember.all] == [each.smallest() for each in forget.all]


@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_of_two_lifts_the_larger_counts(order: tuple[str, str]) -> None:
    """Whichever is heard first."""
    deltas = {"x": Delta(lifts={"a": 100.0}), "y": Delta({"a": 5.0}, lifts={"a": 70.0})}
    counters = Counters()
    for source in order:
        counters.merge(source, deltas[source])

    assert counters.account("a").counter == 105.0


def test_a_snapshot_leaves_out_what_has_yet_to_be_sent() -> None:
    """It would be heard twice."""
    counters = Counters()
    counters.charge(counters.account("a"), 100)
    assert counters.snapshot().charges == {"a": 0.0}
    counters.take_delta()

    assert counters.snapshot().charges == {"a": 100.0}


def test_one_return_seen_by_two_gateways_lifts_once() -> None:
    """The larger lift counts, not both."""
    gateways = {"x": Counters(), "y": Counters()}
    for counters in gateways.values():
        counters.merge("z", Delta({"busy": 100.0}))
        counters.want("busy")
        counters.arrive("back")
    deltas = {name: counters.take_delta() for name, counters in gateways.items()}
    gateways["x"].merge("y", deltas["y"])
    gateways["y"].merge("x", deltas["x"])

    assert [c.account("back").counter for c in gateways.values()] == [100.0, 100.0]


def test_other_gateways_floors_hold_the_lift_down() -> None:
    """The minimum is over all gateways, until one says nobody is backlogged there, or is lost."""
    counters = Counters()
    counters.charge(counters.account("a"), 100)
    counters.want("a")
    counters.rebase()
    counters.merge("x", Delta(floor=30.0))
    counters.merge("y", Delta(floor=60.0))
    assert counters.floor() == -70.0
    counters.merge("x", Delta())
    assert counters.floor() == -40.0
    counters.arrive("new")
    assert counters.lag("new") == 0.0
    counters.settle("new")
    counters.lost("y")
    assert counters.floor() == 0.0


# ---- VTC's bounds, on the smallest engine that has them


@dataclass
class Job:
    """A job of the model engine; `memory` is reserved for it as long as it runs."""

    tenant: str
    prompt: int
    output: int
    bill: Bill | None = None

    @property
    def memory(self) -> int:
        return self.prompt + self.output


@dataclass
class Engine:
    """VTC without preemption: one engine with `memory` tokens, a token for each job and step."""

    memory: int
    predict: Callable[[Job], float]
    weights: dict[str, float]
    counters: Counters = field(default_factory=Counters)
    queues: dict[str, deque[Job]] = field(default_factory=dict)
    running: list[Job] = field(default_factory=list)
    served: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cashier = Cashier(self.counters)

    def arrive(self, job: Job) -> None:
        self.counters.arrive(job.tenant, self.weights[job.tenant])
        self.queues.setdefault(job.tenant, deque()).append(job)

    def serve(self, job: Job, service: float) -> None:
        self.served[job.tenant] = self.served.get(job.tenant, 0.0) + service / self.weights[job.tenant]

    def step(self) -> None:
        """Select until one does not fit; then one token for everyone; then the finished leave."""
        while (tenant := self.counters.smallest()) is not None:
            job = self.queues[tenant][0]
            if sum(each.memory for each in self.running) + job.memory > self.memory:
                break
            self.queues[tenant].popleft()
            job.bill = self.cashier.select(tenant, job.prompt, predicted=self.predict(job))
            self.serve(job, job.prompt)
            self.counters.settle(tenant)
            self.running.append(job)
        for job in list(self.running):
            assert job.bill is not None
            self.cashier.produced(job.bill, job.bill.produced + 1)
            self.serve(job, 2.0)
            if job.bill.produced == job.output:
                self.cashier.close(job.bill)
                self.running.remove(job)

    def spread(self) -> float:
        """Largest less smallest counter of the backlogged tenants."""
        found = [account.counter for account in self.counters.backlog()]
        return max(found) - min(found) if found else 0.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), memory=st.integers(30, 300), predicts=st.booleans(), weighted=st.booleans())
def test_vtcs_bounds_hold(seed: int, memory: int, predicts: bool, weighted: bool) -> None:
    """Backlogged counters spread by at most U; two tenants backlogged throughout differ by at most 2U in service.

    U = max(w_p*L_input, w_q*M), with predictions + w_q times the largest, over the smallest weight (VTC, Lemma 4.3 and
    Theorem 4.4). And no backlogged tenant starves.
    """
    chance = Random(seed)
    weights = {t: chance.choice([1.0, 2.0, 4.0]) if weighted else 1.0 for t in TENANTS}
    wrong = Random(seed + 1)
    engine = Engine(memory, lambda job: job.output * wrong.uniform(0.5, 1.5) if predicts else 0.0, weights)
    bound = max(20.0, 2.0 * memory) + (2.0 * 1.5 * 10 if predicts else 0.0)
    spans: dict[tuple[str, str], tuple[float, float]] = {}
    for now in range(300):
        for tenant in TENANTS:
            if chance.random() < (0.9 if now % 100 < 60 else 0.1):
                engine.arrive(Job(tenant, chance.randint(1, 20), chance.randint(1, 10)))
        engine.step()
        assert engine.spread() <= bound / min(weights.values()) + 1e-6
        check_gaps(engine, spans, 2 * bound / min(weights.values()))
    assert engine.served.keys() == set(TENANTS)


def check_gaps(engine: Engine, spans: dict[tuple[str, str], tuple[float, float]], limit: float) -> None:
    """The change of each pair's difference in service within the span in which both are backlogged."""
    for one in TENANTS:
        for two in TENANTS:
            if one >= two or not (engine.counters.backlogged(one) and engine.counters.backlogged(two)):
                spans.pop((one, two), None)
                continue
            gap = engine.served.get(one, 0.0) - engine.served.get(two, 0.0)
            low, high = spans.get((one, two), (gap, gap))
            spans[one, two] = low, high = min(low, gap), max(high, gap)
            assert high - low <= limit + 1e-6
