"""Engines, their health and administrators' changes, between gateways that share a pool."""

from dataclasses import replace

from gateway.engines.base import EngineFacts
from gateway.errors import EngineFailed
from tests.runtime.fakes import FakeEngine
from tests.runtime.sharing_site import Member, Site, running


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
