"""Counters of several gateways: deltas in any order, lifts, floors, eras."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.accounts import Delta, Totals
from gateway.core.counters import Counters
from tests.core.accounting import TENANTS, Step, act, backlogged, counter, differences


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
            for tenant, seen in absolute(counters).items():
                assert seen == pytest.approx(known.get(tenant, 0.0))
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
