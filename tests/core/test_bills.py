"""What a job is charged: prompt, answer, predictions, refunds."""

import pytest

from gateway.core.bills import Cashier
from gateway.core.costs import LLAMA2_7B_A10G
from gateway.core.counters import Counters
from tests.core.accounting import backlogged, counter


def test_the_prompt_at_once_and_each_token_as_it_comes() -> None:
    """A chunk may hold several; repeated totals charge nothing."""
    counters = Counters()
    cashier = Cashier(counters)
    bill = cashier.select("a", 100)
    assert counter(counters, "a") == 100
    for total in (1, 5, 5):
        cashier.produced(bill, total)
    assert counter(counters, "a") == 110
    cashier.close(bill)

    assert (counter(counters, "a"), bill.account.open_bills) == (110, 0)


@pytest.mark.parametrize(
    ("produced", "during", "after"), [(0, 140, 100), (15, 140, 130), (20, 140, 140), (33, 166, 166)]
)
def test_a_prediction_reserves_and_gives_back(produced: int, during: float, after: float) -> None:
    """20 tokens predicted: charged at once, only the excess later, the rest back in the end (Algorithm 3)."""
    counters = Counters()
    cashier = Cashier(counters)
    bill = cashier.select("a", 100, predicted=20)
    assert counter(counters, "a") == 140
    cashier.produced(bill, produced)
    assert counter(counters, "a") == during
    cashier.close(bill)
    cashier.close(bill)

    assert counter(counters, "a") == after


def test_the_prediction_is_the_mean_of_the_last_five() -> None:
    """Only answers that finished teach; nothing is predicted unless the pool does."""
    counters = Counters()
    cashier = Cashier(counters, predicts=True)
    for produced in (1000, 10, 20, 30, 40, 50):
        bill = cashier.select("a", 0)
        cashier.produced(bill, produced)
        cashier.close(bill)
    broken = cashier.select("a", 0)
    cashier.close(broken, finished=False)

    assert cashier.select("a", 0).reserved == 30
    assert Cashier(counters).select("a", 0).reserved == 0
    assert cashier.select("stranger", 0).reserved == 0


def test_true_usage_replaces_estimates() -> None:
    """Up and down, a cached prompt discounted; in the end exactly the cost of the truth was charged."""
    counters = Counters()
    cashier = Cashier(counters, LLAMA2_7B_A10G, cached_price=0.5)
    bill = cashier.select("a", 100, predicted=10)
    cashier.produced(bill, 30)
    cashier.correct(bill, prompt=140)
    cashier.correct(bill, cached=80)
    cashier.correct(bill, produced=28)
    assert counter(counters, "a") == pytest.approx(LLAMA2_7B_A10G(100, 28))
    cashier.close(bill)
    cashier.correct(bill, prompt=9999)

    assert counter(counters, "a") == pytest.approx(LLAMA2_7B_A10G(100, 28))


def test_computing_again_is_measured_and_free() -> None:
    """A pause is the scheduler's doing."""
    counters = Counters()
    cashier = Cashier(counters)
    bill = cashier.select("a", 100)
    cashier.recomputed(bill, 130)

    assert (bill.account.overhead, bill.account.counter) == (130, 100)


def test_a_refund_can_make_a_tenant_the_smallest() -> None:
    """The order follows at once, however often it changes."""
    counters = backlogged(a=100, b=120)
    cashier = Cashier(counters)
    for _ in range(500):
        bill = cashier.select("b", 0, predicted=100)
        assert counters.smallest() == "a"
        cashier.close(bill)
    counters.charge(counters.account("b"), -30)

    assert (counters.smallest(), counters.floor()) == ("b", 90)
    assert len(counters._backlog._heap) <= 64 + 4 * 2 + 1
