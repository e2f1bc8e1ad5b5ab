"""Engines, their health and administrators' changes, between gateways that share a pool."""

from dataclasses import replace

from gateway.engines.base import EngineFacts
from gateway.errors import EngineFailed
from gateway.runtime.registry import LOOK_S
from tests.runtime.fakes import FakeEngine
from tests.runtime.sharing_site import TTL_S, Member, Site, running


async def test_one_probe_serves_all() -> None:
    site = Site(2)
    await site.begin()
    for member in site.members:
        await member.pool._probe(member.pool.slots[0], lambda: None)
    await site.rounds(2, step_s=0.0)
    probers = [m for m in site.members if m.sharing._registry.probes("a")]
    assert len(probers) == 1
    other = next(m for m in site.members if m is not probers[0])
    probers[0].engine.facts = EngineFailed("broken")
    for _ in range(3):
        await probers[0].pool._probe(probers[0].pool.slots[0], lambda: None)
        await site.rounds(2)
    assert [str(state) for _, state in other.watcher.states] == ["ready", "down"]
    probers[0].engine.facts = EngineFacts(running=0)
    await probers[0].pool._probe(probers[0].pool.slots[0], lambda: None)
    await site.rounds(2)
    assert [str(state) for _, state in other.watcher.states] == ["ready", "down", "ready"]


async def test_an_engine_that_nobody_reports_is_probed_here() -> None:
    site = Site(2)
    await site.begin()
    site.clock.advance(1000.0)
    assert all(member.sharing._registry.probes("a") for member in site.members)


async def test_what_an_administrator_changes_holds_everywhere() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    async with running([a, b]):
        new = FakeEngine("new")
        new.settings = replace(new.settings, url="http://another")
        a.pool.add(new)
        a.pool.drain("a")
        await site.rounds(3)
        assert b.made == ["new"]
        assert b.pool.slots[0].draining
        await a.pool.remove("a")
        await site.rounds(3)
        assert [slot.id for slot in b.pool.slots] == ["new"]
        late = Member("g9", site.store, site.clock)
        async with running([late]):
            await site.rounds(3, [late])
            assert [slot.id for slot in late.pool.slots] == ["new"]


async def test_who_leaves_is_missed_by_nobody() -> None:
    site = Site(2)
    await site.begin()
    a, b = site.members
    await a.sharing.leave()
    b.ask("t", 20)
    await site.rounds(4, [b])
    assert b.seats == 8
    assert b.watcher.share is not None
    assert b.watcher.share.others == ()


async def mourning() -> tuple[Site, Member]:
    """A gateway filled the engine and died; the other one waits for its places."""
    site = Site(2)
    for member in site.members:
        member.engine.facts = EngineFacts(running=0)
    await site.begin()
    dead, alive = site.members
    dead.ask("t", 20)
    await site.rounds(4)
    assert dead.plan() == 7
    await site.rounds(2)
    alive.ask("u", 20)
    assert not await alive.sharing._registry.look()
    await site.rounds(12, [alive], step_s=TTL_S / 8)
    assert alive.seats == 1
    return site, alive


async def looks(site: Site, alive: Member, facts: EngineFacts | Exception, count: int = 3) -> None:
    """That many looks in their rhythm; not one probe of the pool."""
    alive.engine.facts = facts
    for _ in range(count):
        await alive.sharing._look()
        site.clock.advance(LOOK_S)
    await site.rounds(2, [alive])  # free what is free, and take it


async def test_places_of_the_gone_are_free_after_three_quick_looks() -> None:
    site, alive = await mourning()
    await looks(site, alive, EngineFacts(running=0), 2)
    assert alive.seats == 1
    await looks(site, alive, EngineFacts(running=0), 1)
    assert alive.seats == 8
    assert not await alive.sharing._registry.look()


async def test_looks_at_one_moment_are_one() -> None:
    """What was just begun at an engine, or has just ended there, needs its time to show."""
    site, alive = await mourning()
    for _ in range(5):
        await alive.sharing._look()
    await site.rounds(2, [alive])
    assert alive.seats == 1


async def test_what_waits_in_an_engine_is_to_run_there() -> None:
    site, alive = await mourning()
    await looks(site, alive, EngineFacts(running=0, waiting=5))
    assert alive.seats == 3


async def test_a_look_is_no_probe() -> None:
    """An engine's health goes by the pool's own rhythm, and one that does not answer has shown nothing."""
    site, alive = await mourning()
    before = list(alive.watcher.states)
    for failure in (EngineFailed("broken"), ValueError("nonsense")):
        await looks(site, alive, failure)
    assert alive.watcher.states == before
    assert alive.seats == 1
    assert not alive.sharing._registry.health
