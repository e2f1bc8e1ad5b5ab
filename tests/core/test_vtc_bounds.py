"""VTC's bounds, on the smallest engine that has them."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.bills import Bill, Cashier
from gateway.core.counters import Counters
from tests.core.accounting import TENANTS


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
