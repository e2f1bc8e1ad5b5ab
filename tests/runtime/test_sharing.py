"""Parts of engines and charges, between gateways that share a pool."""

from gateway.core.events import LegEnded
from gateway.runtime.caretaker import ClientTimeouts
from gateway.runtime.dispatcher import Dispatcher
from tests.runtime.fakes import job_request
from tests.runtime.sharing_site import TTL_S, Flaky, Member, Site
from tests.support.waiting import eventually


async def test_seats_go_where_jobs_wait_and_never_twice() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    assert a.seats + b.seats <= 8
    a.ask("t", 20)
    await site.rounds(6)
    assert (a.seats, b.seats) == (7, 1)
    assert a.plan() == 7
    b.ask("t", 20)
    await site.rounds(6)
    assert (a.pool.scheduler.running("a"), a.seats, b.seats) == (7, 4, 1)  # what runs is not taken away
    for number in range(5):
        a.pool.scheduler.remove(f"j{number + 1}", site.clock.now(), finished=True)
        a.pool.scheduler.leg_ended(f"j{number + 1}", LegEnded(), site.clock.now())
        a.plan()
        await site.rounds(6)
    assert (a.pool.scheduler.running("a"), a.seats, b.seats) == (4, 4, 4)


async def test_charges_reach_the_others_once_also_when_an_answer_is_lost() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    for fails in ("lost", "away", "lost", ""):
        site.store.fails = fails
        a.ask("t", 1)
        assert a.plan() == 1
        await site.rounds(1, [a])
    await site.rounds(4)
    assert (a.counter("t"), b.counter("t")) == (40.0, 40.0)
    assert (await site.store.sums()).totals.charges == {"t": 40.0}


async def test_who_comes_later_reads_what_was_charged() -> None:
    site = Site(2)
    await site.begin()
    site.members[0].ask("t", 2)
    assert site.members[0].plan() == 2
    await site.rounds(3)
    late = Member("g9", site.store, site.clock)
    await site.rounds(3, [late])
    assert late.counter("t") == 20.0


async def test_who_is_alone_with_everything_only_keeps_its_lease() -> None:
    """Its charges go with that; a second gateway hears of them and from then on of each as it comes."""
    site = Site(1)
    await site.begin()
    (a,) = site.members
    before = site.store.exchanges
    for _ in range(60):
        a.ask("t", 1)
        a.plan()
        await site.rounds(1)
    assert site.store.exchanges - before == 4  # in 3 seconds, a lease's time
    late = Member("g9", site.store, site.clock)
    await site.rounds(2, [late, a])
    assert late.counter("t") == a.counter("t") > 0


async def test_messages_in_a_row_are_no_cause_to_read_everything() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    reads = site.store.reads
    for _ in range(3):
        b.ask("t", 1)
        assert b.plan() == 1
        await site.rounds(1, [b], step_s=TTL_S / 4)
    await site.rounds(1, [a])
    assert (a.counter("t"), site.store.reads) == (30.0, reads)


async def test_a_newcomer_s_charge_that_was_read_is_not_counted_again_when_it_is_heard() -> None:
    """It comes between the others' exchange and their reading of the sums: they do not know the newcomer yet."""
    site = Site(2)
    await site.begin()
    a = site.members[0]
    new = Member("g9", site.store, site.clock)
    await a.sharing._round(site.clock.now())
    a.sharing._must_read = True
    new.pool.scheduler.counters.charge(new.pool.scheduler.counters.account("t"), 10.0)
    await site.rounds(1, [new], step_s=0.0)  # it reads, and has told nothing before
    await new.sharing._round(site.clock.now())
    await a.sharing._merge()
    await site.rounds(2)
    assert a.counter("t") == 10.0


async def test_who_has_not_read_the_sums_tells_nothing_of_its_own() -> None:
    """It would tell a whole counter that lacks what it has not read, and everybody would take that over."""
    site = Site(1)
    await site.begin()
    (a,) = site.members
    a.ask("t", 2)
    a.plan()
    await site.rounds(8, step_s=TTL_S / 8)
    site.store._ledger.era += 1  # in which nobody has told of the tenant yet
    new = Member("g9", site.store, site.clock)
    new.pool.scheduler.counters.charge(new.pool.scheduler.counters.account("t"), 1.0)
    site.store.unreadable = True
    await site.rounds(3, [new])
    site.store.unreadable = False
    await site.rounds(4, [new, a])
    assert [each.pool.scheduler.counters.account("t").counter for each in (a, new)] == [21.0, 21.0]


async def test_a_dead_gateway_s_floor_holds_nobody_down() -> None:
    """From when its lease has run out, although its legs may still hold places; and whatever is read meanwhile."""
    site = Site(2)
    await site.begin()
    a, b = site.members
    b.ask("t", 20)
    assert b.plan() == b.seats
    await site.rounds(2)
    assert a.pool.scheduler.counters.floor() == b.pool.scheduler.counters.floor()
    a.sharing._must_read = True
    await site.rounds(8, [a], step_s=TTL_S / 4)
    assert a.sharing.holder.lines("a")["g1"].gone
    assert a.pool.scheduler.counters.floor() is None


async def test_a_store_that_lost_everything_is_told_again() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    for member, tenant in ((a, "s"), (b, "t")):
        member.ask(tenant, 1)
        assert member.plan() == 1
    await site.rounds(4)
    seats = [a.seats, b.seats]
    empty = Flaky()
    site.store._ledger, site.store._totals, site.store._numbers = empty._ledger, empty._totals, {}
    await site.rounds(40)
    assert (await site.store.sums()).totals.charges == {"s": 10.0, "t": 10.0}
    assert (a.counter("s"), b.counter("s"), a.counter("t"), b.counter("t")) == (10.0,) * 4
    assert sum(seats) <= 8
    assert a.seats + b.seats <= 8


async def test_without_the_store_the_last_part_holds_for_a_lease_s_time() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    before = a.seats
    site.store.fails = "away"
    await site.rounds(6, step_s=TTL_S / 10)
    assert a.seats == before
    await site.rounds(5, step_s=TTL_S / 10)
    assert (a.seats, b.seats) == (0, 0)
    site.store.fails = ""
    await site.rounds(12, step_s=TTL_S / 8)
    assert a.seats + b.seats <= 8
    assert min(a.seats, b.seats) > 0


async def test_who_was_frozen_past_its_lease_starts_nothing_when_it_wakes() -> None:
    """Also before its first round of sharing: an end makes room in a part that somebody else may hold by now."""
    site = Site(2)
    await site.begin()
    woken = site.members[0]
    dispatcher = Dispatcher([woken.pool], site.clock, woken.watcher, ClientTimeouts())
    jobs = [dispatcher.submit(job_request()) for _ in range(woken.seats + 1)]
    await eventually(lambda: len(woken.engine.legs) == woken.seats)
    site.clock.advance(0.95 * TTL_S)
    woken.engine.legs[0].sink.completed()
    await jobs[0].end
    assert (woken.pool.scheduler.running("a"), woken.pool.scheduler.waiting) == (len(jobs) - 2, 1)
    await dispatcher.stop()


async def turn(site: Site) -> None:
    """A new era, which somebody has waited for."""
    era = site.members[0].sharing.holder.era
    site.members[0].sharing.holder._era_since = float("-inf")
    await site.rounds(8, step_s=TTL_S / 8)
    assert [member.sharing.holder.era for member in site.members] == [era + 1] * len(site.members)


async def test_who_was_idle_for_an_era_is_forgotten_by_all_and_comes_back_to_all() -> None:
    """With one counter everywhere, in the store too."""
    site = Site(2)
    await site.begin()
    a, b = site.members
    for tenant in ("idle", "busy"):
        a.ask(tenant, 1)
        assert a.plan() == 1
    a.pool.scheduler.remove("j1", site.clock.now(), finished=True)
    a.pool.scheduler.leg_ended("j1", LegEnded(), site.clock.now())
    await site.rounds(3)
    assert all("idle" in member.pool.scheduler.counters for member in site.members)
    for _ in range(3):
        a.ask("busy", 1)
        a.plan()
        await turn(site)
    for member in site.members:
        member.pool.scheduler.counters.forget()
    assert not any("idle" in member.pool.scheduler.counters for member in site.members)
    assert (await site.store.sums()).totals.charges.keys() == {"busy"}

    b.ask("idle", 2)
    assert b.plan() == 2
    await site.rounds(4)
    late = Member("g9", site.store, site.clock)
    await site.rounds(3, [late])
    told = [member.pool.scheduler.counters.account("idle").counter for member in (a, b, late)]
    assert told == [told[0]] * 3
    assert told[0] > 10.0


async def test_a_debt_is_told_again_before_the_store_forgets_it() -> None:
    """Who is ahead of one that runs is so in every era, though nobody touches it; a newcomer hears of it too."""
    site = Site(2)
    await site.begin()
    a, b = site.members
    for tenant, jobs in (("behind", 1), ("ahead", 2), ("last", 1)):
        a.ask(tenant, jobs)
        assert a.plan() == jobs
    for number in range(1, 3):
        a.pool.scheduler.remove(f"j{number + 1}", site.clock.now(), finished=True)
        a.pool.scheduler.leg_ended(f"j{number + 1}", LegEnded(), site.clock.now())
    await site.rounds(3)
    for _ in range(4):
        await turn(site)
        for member in site.members:
            member.pool.scheduler.counters.forget()
    late = Member("g9", site.store, site.clock)
    await site.rounds(3, [late])
    assert [each.pool.scheduler.counters.account("ahead").counter for each in (a, b, late)] == [30.0] * 3
