"""Leases: seats follow demand, what runs stays, and what is lost comes back."""

from gateway.core.leases import ERA_S, Holder
from gateway.core.ledger import Ledger
from gateway.core.shares import NO_PART
from tests.core.lines import line

ENGINE = "engine-1"
TTL_S = 5.0


class Site:
    """One ledger and its gateways, who hear each other at once."""

    def __init__(self, count: int) -> None:
        self.now = 100.0
        self.ledger = Ledger()
        self.holders = [Holder(f"g{number}", TTL_S) for number in range(count)]
        self.wants = dict.fromkeys((h.me for h in self.holders), 0)
        self.used = dict.fromkeys((h.me for h in self.holders), 0)
        self.boot = "a"

    def sync(self, holder: Holder) -> None:
        used = self.used[holder.me]
        request = holder.request(self.now, {ENGINE: line(max(used, self.wants[holder.me]), used=used)})
        holder.answered(request, self.ledger.sync(request, self.boot), self.now)

    def rounds(self, count: int, holders: list[Holder] | None = None, step_s: float = 0.05) -> None:
        for _ in range(count):
            for holder in self.holders if holders is None else holders:
                self.sync(holder)
            self.now += step_s

    def settle(self) -> None:
        self.rounds(int(TTL_S / 0.5) + 3, step_s=0.5)

    def held(self) -> list[int]:
        return [holder.held(ENGINE, self.now).seats for holder in self.holders]

    def usable(self) -> list[int]:
        return [holder.usable(ENGINE, self.now).seats for holder in self.holders]


# ---- division


def test_a_lone_gateway_gets_everything_once_the_book_is_settled() -> None:
    site = Site(1)
    site.rounds(1)
    assert site.usable() == [0]  # the book may be a lost one: others may hold something
    site.settle()
    assert site.usable() == [16]


def test_a_part_is_of_what_is_held_and_ends_with_its_lease() -> None:
    """Parts of all gateways together are no more than the engine; nothing is left of one whose lease has run out."""
    site = Site(3)
    site.settle()
    site.wants.update(g0=40, g1=40)
    site.rounds(4)
    parts = [holder.part(ENGINE, site.now) for holder in site.holders]

    assert sum(part.fraction for part in parts) == 1.0
    assert [round(16 * part.fraction) for part in parts] == site.held()
    assert site.holders[0].part(ENGINE, site.now + TTL_S) == NO_PART


def test_who_waits_gets_more_and_who_idles_keeps_a_reserve() -> None:
    site = Site(2)
    site.settle()
    site.wants["g1"] = 40
    site.rounds(4)
    assert site.usable() == [2, 14]
    site.wants.update(g0=40, g1=0)
    site.rounds(4)
    assert site.usable() == [14, 2]


def one_is_full_and_both_want_more() -> Site:
    site = Site(2)
    site.wants["g0"] = 40
    site.settle()
    site.used["g0"] = 14
    site.wants["g1"] = 40
    site.rounds(4)
    return site


def test_what_runs_is_not_given_away() -> None:
    site = one_is_full_and_both_want_more()
    assert site.held() == [14, 2]
    site.used["g0"] = 9
    site.rounds(4)
    assert site.held() == [9, 7]


def test_a_full_gateway_fills_no_place_again_that_another_should_have() -> None:
    """Else it would keep its places for ever: each one that ends would be taken again before it could be given."""
    site = one_is_full_and_both_want_more()
    assert site.usable() == [8, 2]
    site.wants["g1"] = 0
    site.rounds(4)
    assert site.usable() == [14, 2]


# ---- what is lost


def test_a_silent_gateway_is_buried_after_its_lease_and_its_legs_are_waited_for() -> None:
    site = Site(2)
    alive = site.holders[1]
    site.wants["g0"] = 40
    site.settle()
    site.used["g0"] = 14
    site.rounds(1)
    site.wants["g1"] = 40
    assert not alive.mourns(ENGINE)
    site.rounds(12, [alive], step_s=0.5)
    assert site.usable() == [0, 2]  # its legs may still run at the engine
    assert alive.mourns(ENGINE)
    for running in (5, 5, 3):
        alive.seen(ENGINE, running)
    site.rounds(2, [alive])
    assert alive.usable(ENGINE, site.now).seats == 11
    for _ in range(3):
        alive.seen(ENGINE, 0)
    site.rounds(2, [alive])
    assert alive.usable(ENGINE, site.now).seats == 16
    assert not alive.mourns(ENGINE)


def test_a_buried_gateway_that_comes_back_gets_a_part_again() -> None:
    site = Site(2)
    back, alive = site.holders
    site.settle()
    site.rounds(16, [alive], step_s=0.5)
    assert site.ledger.members["g0"].gone
    site.rounds(6)
    assert not site.ledger.members["g0"].gone
    assert back.usable(ENGINE, site.now).seats >= 2


def test_a_lost_book_gives_nothing_out_while_somebody_of_it_is_missing() -> None:
    """Its legs may outlast its lease."""
    site = Site(2)
    site.settle()
    present, missing = site.holders
    site.wants.update(g0=40, g1=40)
    site.boot = "b"
    site.rounds(7, [present], step_s=TTL_S / 4)
    assert present.usable(ENGINE, site.now).seats == 8
    site.used["g1"] = 6
    site.rounds(16, step_s=TTL_S / 4)
    assert (missing.usable(ENGINE, site.now).seats, present.usable(ENGINE, site.now).seats) == (8, 8)


def test_a_lost_book_is_given_out_at_last_when_nobody_comes_back() -> None:
    site = Site(2)
    site.settle()
    present, _ = site.holders
    site.wants["g0"] = 40
    site.boot = "b"
    site.rounds(20, [present], step_s=TTL_S / 4)
    assert present.usable(ENGINE, site.now).seats == 16


def test_a_book_that_is_lost_is_written_again_and_gives_nothing_until_it_is_settled() -> None:
    site = Site(2)
    site.settle()
    site.wants.update(g0=40, g1=40)
    site.rounds(4)
    before = site.usable()
    assert sum(before) == 16
    site.ledger.epoch = ""
    site.rounds(4)
    assert site.usable() == before
    newcomer = Holder("g9", TTL_S)
    site.holders.append(newcomer)
    site.wants["g9"] = site.used["g9"] = 0
    site.rounds(4)
    assert site.usable() == [*before, 0]
    site.settle()
    site.rounds(4)
    assert min(site.usable()) > 0
    assert sum(site.usable()) <= 16


def test_without_a_ledger_gateways_keep_each_other_s_leases_alive() -> None:
    site = Site(2)
    site.settle()
    a, b = site.holders
    before = site.usable()
    for _ in range(40):
        site.now += 0.5
        for asker, other in ((a, b), (b, a)):
            if other.me in asker.asks(site.now) and other.vouches_for(asker.me, asker.epoch, site.now):
                asker.vouched(other.me, site.now)
    assert site.usable() == before


def test_who_reaches_nobody_starts_nothing_new() -> None:
    site = Site(2)
    site.settle()
    site.now += 0.95 * TTL_S
    assert site.usable() == [0, 0]


def test_a_lone_gateway_goes_on_without_the_ledger() -> None:
    site = Site(1)
    site.settle()
    site.now += 1000 * TTL_S
    assert site.usable() == [16]


def test_who_leaves_gives_everything_back() -> None:
    site = Site(2)
    site.settle()
    leaving, staying = site.holders
    site.ledger.sync(leaving.request(site.now, {}, leaves=True), site.boot)
    site.wants["g1"] = 16
    site.rounds(2, [staying])
    assert staying.usable(ENGINE, site.now).seats == 16


def test_gateways_count_eras_together_and_never_back() -> None:
    """One that has seen the present one for ten minutes asks for the next; who joins or is late counts with them."""
    site = Site(2)
    assert site.holders[0].era == 0
    site.settle()
    assert [holder.era for holder in site.holders] == [1, 1]
    begun = site.now
    site.rounds(1, step_s=ERA_S - 60.0)
    site.rounds(1)
    assert site.now < begun + ERA_S
    assert [holder.era for holder in site.holders] == [1, 1]
    site.now = begun + ERA_S
    site.rounds(2)
    assert [holder.era for holder in site.holders] == [2, 2]
    site.ledger, site.boot = Ledger(), "b"  # all is lost
    site.rounds(2)
    newcomer = Holder("new", TTL_S)
    site.wants["new"] = site.used["new"] = 0
    site.sync(newcomer)
    assert [holder.era for holder in (*site.holders, newcomer)] == [2, 2, 2]
