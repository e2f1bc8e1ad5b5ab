"""Idle tenants are forgotten, and nothing that is decided can tell."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.bills import Bill, Cashier
from gateway.core.counters import Counters
from tests.core.accounting import backlogged, counter


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
