"""Virtual token counters: lift, order, weights."""

import pytest

from gateway.core.counters import Counters
from tests.core.accounting import backlogged, counter


def test_a_newcomer_starts_at_the_minimum_not_the_maximum() -> None:
    """Tells the two readings of the lift apart: 100, not 500 (VTC, Algorithm 2)."""
    counters = backlogged(a=100, b=500)
    counters.arrive("new")

    assert counter(counters, "new") == 100
    assert counters.smallest() == "a"


@pytest.mark.parametrize(("own", "lifted"), [(20, 100), (100, 100), (300, 300), (900, 900)])
def test_a_return_is_lifted_and_never_lowered(own: float, lifted: float) -> None:
    """Unused share is not saved up, a debt stays."""
    counters = backlogged(a=100, b=500)
    counters.charge(counters.account("c"), own)
    counters.arrive("c")

    assert counter(counters, "c") == lifted


def test_with_nobody_backlogged_the_last_that_was_counts() -> None:
    """By its counter of now, though its jobs still run."""
    counters = backlogged(a=100, b=500)
    counters.settle("b")
    counters.settle("a")
    counters.charge(counters.account("a"), 50)
    counters.arrive("c")

    assert counter(counters, "c") == 150


def test_the_first_of_all_starts_at_nothing() -> None:
    """There is no floor yet, and no lag."""
    counters = Counters()
    counters.charge(counters.account("z"), 70)
    assert counters.lag("z") == 0.0
    counters.arrive("a")

    assert counter(counters, "a") == 0


def test_only_the_first_job_of_a_tenant_lifts() -> None:
    """While it is backlogged, further arrivals do not; nor does a paused job that wants to go on."""
    counters = backlogged(a=100)
    counters.arrive("b")
    counters.charge(counters.account("a"), 1000)
    counters.arrive("b")
    assert counter(counters, "b") == 100

    counters.settle("b")
    counters.settle("b")
    counters.want("b")
    assert counter(counters, "b") == 100


def test_the_smallest_counter_comes_first_then_who_waits_longest() -> None:
    """Equal counters: in the order of becoming backlogged."""
    counters = backlogged(b=5, a=5, c=7)
    order = []
    for _ in range(3):
        tenant = counters.smallest()
        assert tenant is not None
        order.append(tenant)
        counters.settle(tenant)

    assert order == ["b", "a", "c"]
    assert counters.smallest() is None
    assert counters.floor() is None
    assert repr(counters) == "<Counters 3 tenants, 0 backlogged, floor None>"


def test_lag_is_over_the_backlogged_only() -> None:
    """A tenant that wants nothing holds nobody's floor down."""
    counters = backlogged(a=100, b=500)
    counters.charge(counters.account("idle"), 1)

    assert (counters.floor(), counters.lag("b"), counters.lag("a"), counters.lag("idle")) == (100, 400, 0, -99)
    assert [counters.backlogged(t) for t in ("a", "idle", "unknown")] == [True, False, False]
    assert (counters.backlogged_tenants, {a.tenant for a in counters.backlog()}) == (2, {"a", "b"})
    assert "unknown" not in counters


def test_weights_divide_what_is_charged() -> None:
    """Twice the weight, half the counter; a weight is positive."""
    counters = Counters()
    account = counters.arrive("a", weight=2.0)
    counters.charge(account, 100)
    assert account.counter == 50
    with pytest.raises(ValueError, match="positive"):
        counters.arrive("a", weight=0.0)


def test_a_tenant_that_wants_nothing_cannot_settle() -> None:
    """A bug in the caller shows at once."""
    with pytest.raises(ValueError, match="wants"):
        Counters().settle("a")
