"""Gateways that share a pool: rounds made by hand, over the store in memory, on a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from gateway.clock import ManualClock
from gateway.core.job import JobSpec
from gateway.core.leases import Holder
from gateway.core.ledger import Reply, Request
from gateway.engines.base import Engine, EngineSettings
from gateway.errors import Unavailable
from gateway.runtime.registry import Registry
from gateway.runtime.sharing import Sharing
from gateway.stores.memory_share import MemoryShare
from gateway.stores.share import Message, Sums
from tests.runtime.fakes import FakeEngine, Watcher, make_pool

TTL_S = 3.0


class Flaky(MemoryShare):
    """A store whose answers may be lost: `fails` is how, before the exchange ("away") or after it ("lost")."""

    fails = ""
    unreadable = False
    reads = exchanges = 0

    async def sums(self) -> Sums:
        self.reads += 1
        if self.unreadable:
            raise Unavailable("away")
        return await super().sums()

    async def exchange(self, request: Request, message: Message | None) -> Reply:
        self.exchanges += 1
        if self.fails == "away":
            raise Unavailable("away")
        reply = await super().exchange(request, message)
        if self.fails == "lost":
            raise Unavailable("the answer is lost")
        return reply


class Member:
    """One gateway."""

    def __init__(self, name: str, store: MemoryShare, clock: ManualClock) -> None:
        self.clock = clock
        self.watcher = Watcher()
        self.engine = FakeEngine("a", max_running=8)
        self.pool = make_pool([self.engine], self.watcher, clock=clock)
        self.made: list[str] = []
        holder = Holder(name, TTL_S)
        registry = Registry(self.pool, holder, clock, self.make, self.drain)
        self.sharing = Sharing(holder, self.pool, store, registry, clock, self.watcher)
        self.jobs = 0

    def make(self, settings: EngineSettings) -> Engine:
        self.made.append(settings.id)
        engine = FakeEngine(settings.id)
        engine.settings = settings
        return engine

    def drain(self, engine_id: str) -> None:
        self.pool.drain(engine_id)

    def ask(self, tenant: str, jobs: int) -> None:
        """Jobs of ten tokens arrive."""
        for _ in range(jobs):
            self.jobs += 1
            self.pool.scheduler.add(JobSpec(f"j{self.jobs}", tenant, 10), self.clock.now())

    def plan(self) -> int:
        """How many jobs start."""
        return len(self.pool.scheduler.plan(self.clock.now()).start)

    @property
    def seats(self) -> int:
        return self.pool.slots[0].capacity().max_running

    def counter(self, tenant: str) -> float:
        return self.pool.scheduler.counters.snapshot().charges.get(tenant, 0.0)


@asynccontextmanager
async def running(members: Sequence[Member]) -> AsyncIterator[None]:
    """Their pools run: engines may come and go."""
    tasks = [asyncio.create_task(member.pool.run(lambda: None)) for member in members]
    await asyncio.gather(*(member.pool.asked.wait() for member in members))
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Site:
    """Gateways over one store; everybody has been answered, and the engine is well."""

    def __init__(self, count: int) -> None:
        self.clock = ManualClock(100.0)
        self.store = Flaky()
        self.members = [Member(f"g{number}", self.store, self.clock) for number in range(count)]

    async def rounds(self, count: int, members: list[Member] | None = None, step_s: float = 0.05) -> None:
        for _ in range(count):
            for member in self.members if members is None else members:
                await member.sharing._step(self.clock.now())
            self.clock.advance(step_s)

    async def begin(self) -> None:
        for member in self.members:
            await member.pool._probe(member.pool.slots[0], lambda: None)
        await self.rounds(12, step_s=TTL_S / 8)
