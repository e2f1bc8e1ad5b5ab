"""Virtual token counters: lift, order, refunds, rebasing, forgetting."""

import pytest

from gateway.core.accounts import Delta
from gateway.core.bills import Cashier
from gateway.core.costs import LLAMA2_7B_A10G
from gateway.core.counters import Counters


def backlogged(**counters: float) -> Counters:
    """Tenants that want to run, with these counters."""
    made = Counters()
    for tenant, counter in counters.items():
        made.charge(made.account(tenant), counter)
    for tenant in counters:
        made.want(tenant)
    return made


def counter(counters: Counters, tenant: str) -> float:
    return counters.account(tenant).counter


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


# ---- bills


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


# ---- rebasing and forgetting


def test_forgetting_keeps_debts() -> None:
    """Dropped: idle and at or below the floor. Kept: a debt, an open bill, a job that wants nothing."""
    counters = backlogged(a=100)
    for tenant, amount in {"low": 40, "level": 100, "debt": 101, "bill": 100, "job": 100}.items():
        counters.charge(counters.account(tenant), amount)
    bill = Cashier(counters).select("bill", 0)
    counters.enter("job")

    assert counters.forget() == ["low", "level"]
    assert {account.tenant for account in counters} == {"a", "debt", "bill", "job"}
    Cashier(counters).close(bill)
    counters.leave("job")
    assert counters.forget() == ["bill", "job"]


def test_a_job_that_is_low_and_wants_nothing_keeps_who_is_above_it() -> None:
    """When it wants to go on the floor is down there, and who was forgotten would come back below its own counter."""
    counters = backlogged(a=100)
    counters.charge(counters.account("idle"), 70)
    counters.charge(counters.account("low"), 60)
    counters.enter("low")
    assert counters.forget() == []
    counters.want("low")
    counters.arrive("idle")

    assert (counters.floor(), counter(counters, "idle")) == (60, 70)


def test_a_bill_that_may_be_refunded_keeps_who_is_above_what_is_left() -> None:
    """The engine's own count of the prompt may be lower, or the answer shorter than was predicted."""
    counters = backlogged(a=100)
    cashier = Cashier(counters)
    for amount, tenant in ((100, "level"), (101, "above")):
        counters.charge(counters.account(tenant), amount)
    bill = cashier.select("a", 50)
    assert counters.floor() == 150
    assert counters.forget() == ["level"]
    cashier.correct(bill, prompt=1)
    counters.arrive("above")

    assert (counters.floor(), counter(counters, "above")) == (101, 101)


def test_who_was_backlogged_last_is_remembered() -> None:
    """Nobody else knows the floor then; with no floor at all nobody is dropped."""
    counters = Counters()
    counters.account("z")
    assert counters.forget() == []
    counters.arrive("a")
    counters.settle("a")

    assert counters.forget() == ["z"]
    assert len(counters) == 1


def test_without_lifts_nobody_is_forgotten() -> None:
    """Least Counter First goes by what anybody ever had."""
    counters = Counters(lifts=False)
    counters.charge(counters.account("z"), 10)
    counters.charge(counters.arrive("a"), 100)

    assert counters.forget() == []


def test_a_forgotten_tenant_returns_as_if_it_had_been_remembered() -> None:
    """At the floor, after any number of rebasings."""
    counters = backlogged(a=100)
    counters.charge(counters.account("b"), 60)
    counters.rebase()
    counters.forget()
    counters.charge(counters.account("a"), 7)
    counters.arrive("b")

    assert counter(counters, "b") == counter(counters, "a") == 7


def test_any_number_of_tenants_that_come_and_go_leave_few_behind() -> None:
    """Each runs one job; those above the floor stay."""
    counters = Counters()
    cashier = Cashier(counters)
    most = 0
    for number in range(20_000):
        tenant = f"t{number}"
        counters.enter(tenant)
        counters.arrive(tenant)
        bill = cashier.select(tenant, 10)
        counters.settle(tenant)
        cashier.close(bill)
        counters.leave(tenant)
        counters.tidy()
        most = max(most, len(counters))

    assert most <= 1024
    assert len(counters._telling._changed) <= len(counters)


def test_a_tenant_that_nobody_knows_begins_at_the_floor_whatever_its_job_does() -> None:
    """A job that comes without arriving, from another gateway, lifts no tenant that is known."""
    counters = backlogged(a=100)
    counters.charge(counters.account("known"), 40)
    for tenant in ("known", "new"):
        counters.enter(tenant)

    assert (counter(counters, "known"), counter(counters, "new")) == (40, 100)


# ---- eras


def test_the_first_touch_in_an_era_tells_the_whole_counter() -> None:
    """Later ones only what is new; whoever has never heard of the tenant knows all of it."""
    counters, stranger = backlogged(a=100), Counters()
    counters.take_delta()
    counters.begin_era(3)
    counters.charge(counters.account("a"), 7)
    first = counters.take_delta()
    counters.charge(counters.account("a"), 5)
    second = counters.take_delta()
    for delta in (first, second):
        stranger.merge("x", delta)

    assert (first.charges, first.lifts, first.eras, first.begun) == ({"a": 7}, {"a": 100}, {"a": 3}, ("a",))
    assert (second.charges, second.lifts, second.begun) == ({"a": 5}, {}, ())
    assert counter(stranger, "a") == 112


def test_a_delta_whose_beginning_was_not_heard_makes_no_account() -> None:
    """A counter of what came after it would be far too low."""
    counters = Counters()
    counters.merge("x", Delta({"a": 5.0}, eras={"a": 3}))

    assert "a" not in counters


def test_what_belongs_to_totals_that_are_over_changes_nothing() -> None:
    """It was on its way when the new ones began."""
    counters = Counters()
    counters.merge("x", Delta({"a": 5.0}, {"a": 100.0}, eras={"a": 3}, begun=("a",)))
    counters.merge("y", Delta({"a": 40.0}, {"a": 600.0}, eras={"a": 2}, begun=("a",)))
    counters.correct(Delta({"a": 40.0}, {"a": 600.0}, eras={"a": 2}))

    assert counter(counters, "a") == 105


def test_what_is_still_to_be_told_outlives_another_gateways_beginning() -> None:
    """And is told once, as of the new totals."""
    counters = backlogged(a=100)
    counters.take_delta()
    counters.charge(counters.account("a"), 7)
    counters.merge("x", Delta({}, {"a": 100.0}, eras={"a": 3}, begun=("a",)))

    assert counter(counters, "a") == counters.floor() == 107
    delta = counters.take_delta()
    assert (delta.charges, delta.eras, delta.begun) == ({"a": 7}, {"a": 3}, ())


def test_totals_that_two_gateways_begin_are_one() -> None:
    """Both know the counter, and each tells what it has charged since."""
    pair = {name: backlogged(a=100) for name in "xy"}
    for counters in pair.values():
        counters.take_delta()
        counters.begin_era(3)
    for name, amount in {"x": 7, "y": 5}.items():
        pair[name].charge(pair[name].account("a"), amount)
    deltas = {name: counters.take_delta() for name, counters in pair.items()}
    pair["x"].merge("y", deltas["y"])
    pair["y"].merge("x", deltas["x"])

    assert [counter(counters, "a") for counters in pair.values()] == [112, 112]


def test_a_gateway_that_has_only_heard_lifts_a_stranger_to_the_lowest_of_whom_it_has_heard() -> None:
    """Whom the others have forgotten was no higher, so a newcomer's tenants have no head start."""
    counters = Counters()
    counters.begin_era(3)
    counters.correct(Delta({"a": 300.0, "b": 200.0}, eras={"a": 3, "b": 3}))
    counters.arrive("new")

    assert counter(counters, "new") == 200
