"""What a pool makes of its probes: health, width, context."""

import asyncio

import pytest

from gateway.core.capacity import EngineCapacity
from gateway.core.job import JobSpec
from gateway.engines.base import Endpoint, EngineFacts, EngineState
from gateway.errors import EngineFailed
from gateway.runtime.pool import Pool, engine_states
from gateway.runtime.slot import PROBES_UNTIL_PINNED
from tests.runtime.fakes import MODEL, FakeEngine, Watcher, make_pool
from tests.support.waiting import eventually

DOWN, READY = EngineState.DOWN, EngineState.READY


class House:
    """A pool that is probed by hand."""

    def __init__(self, *engines: FakeEngine) -> None:
        self.engines = engines
        self.watcher = Watcher()
        self.pool: Pool = make_pool(list(engines), self.watcher)
        self.changes = 0

    def changed(self) -> None:
        self.changes += 1

    async def probe(self, times: int = 1, slot: int = 0) -> None:
        for _ in range(times):
            await self.pool._probe(self.pool.slots[slot], self.changed)

    def fill(self, jobs: int) -> None:
        """Let that many jobs run."""
        for number in range(jobs):
            self.pool.scheduler.add(JobSpec(f"j{number}", "t", 10), 0.0)
        self.pool.scheduler.plan(0.0)


@pytest.mark.parametrize("trouble", [EngineFailed("no answer"), KeyError("a bug in the adapter")])
async def test_health(trouble: Exception) -> None:
    """Ready at the first good probe, down at the second bad one in a row; the first word counts at once."""
    house = House(FakeEngine("a"))
    engine = house.engines[0]
    assert not house.pool.ready
    engine.facts, good = trouble, engine.facts
    await house.probe()
    assert house.watcher.states == [("a", DOWN)]
    engine.facts = good
    await house.probe()
    assert house.pool.ready
    for facts, state in ((trouble, READY), (good, READY), (trouble, READY), (trouble, DOWN), (trouble, DOWN)):
        engine.facts = facts
        await house.probe()
        assert engine_states([house.pool]) == {MODEL: {"a": state}}

    assert [state for _, state in house.watcher.states] == [DOWN, READY, DOWN]
    assert house.changes == 3


async def test_a_refused_connection_counts_at_once() -> None:
    """Once; the next good probe ends it."""
    house = House(FakeEngine("a"), FakeEngine("b"))
    await house.probe()
    await house.probe(slot=1)
    assert house.pool.ready_besides("a")
    for _ in range(2):
        house.pool.unreachable("a", house.changed)
    assert house.watcher.states[2:] == [("a", DOWN)]
    assert not house.pool.ready_besides("b")
    await house.probe()

    assert house.watcher.states[-1] == ("a", READY)


async def test_one_bad_engine_does_not_end_the_watch() -> None:
    """Whatever an adapter raises, the others are probed on."""
    house = House(FakeEngine("a"), FakeEngine("b"))
    house.engines[0].facts = TypeError("a bug")
    watch = asyncio.create_task(house.pool.run(house.changed))
    await asyncio.wait_for(house.pool.asked.wait(), 5.0)
    assert house.watcher.states == [("a", DOWN), ("b", READY)]
    house.engines[1].facts = EngineFailed("gone")
    await eventually(lambda: ("b", DOWN) in house.watcher.states)
    house.engines[0].facts = EngineFacts()
    await eventually(lambda: ("a", READY) in house.watcher.states)

    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_the_scheduler_knows_what_the_pool_learns() -> None:
    """Memory from the engine unless it is configured; an engine that is down gets nothing."""
    house = House(FakeEngine("a"), FakeEngine("b", kv_tokens=500))
    for number in range(2):
        house.engines[number].facts = EngineFacts(kv_tokens=9000)
        await house.probe(slot=number)
    loads = house.pool.scheduler._roster.fleet
    assert loads["a"].capacity == EngineCapacity(128, 9000)
    assert loads["b"].capacity == EngineCapacity(128, 500)
    house.engines[0].facts = EngineFacts(kv_tokens=8000)
    before = house.changes
    await house.probe()
    await house.probe()
    assert house.changes == before + 1
    house.engines[0].facts = EngineFailed("gone")
    await house.probe(times=2)

    assert loads["a"].capacity == EngineCapacity(128, 8000, ready=False)


async def test_the_shortest_context_counts() -> None:
    """Of the engines that tell, and as they last told it; the configuration's word stands above."""
    house = House(FakeEngine("a"), FakeEngine("b"))
    assert house.pool.context_tokens is None
    for number, context in enumerate((4096, 8192)):
        house.engines[number].facts = EngineFacts(context_tokens=context)
        await house.probe(slot=number)
    house.engines[0].facts = EngineFacts()
    await house.probe()
    assert house.pool.context_tokens == 4096

    assert make_pool([FakeEngine("c")], Watcher(), context_tokens=100).context_tokens == 100


async def test_the_first_engine_that_answers_counts_tokens() -> None:
    """None when nobody can."""
    house = House(FakeEngine("a"), FakeEngine("b"))
    assert await house.pool.tokenize(Endpoint.CHAT, {}) is None
    await house.probe()
    await house.probe(slot=1)
    house.engines[0].facts = EngineFailed("busy")

    assert await house.pool.tokenize(Endpoint.CHAT, {}) == 7


async def test_an_engine_that_queues_is_narrowed() -> None:
    """Three probes in a row with the same number running and some waiting show its width."""
    house = House(FakeEngine("a"))
    await house.probe()
    house.fill(20)
    house.engines[0].facts = EngineFacts(running=16, waiting=4)
    await house.probe(times=PROBES_UNTIL_PINNED)
    assert house.pool.slots[0].max_running == 128
    await house.probe()

    assert house.pool.slots[0].max_running == 16
    assert house.pool.scheduler._roster.fleet["a"].capacity.max_running == 16


@pytest.mark.parametrize(
    "facts",
    [
        [EngineFacts(running=n, waiting=4) for n in (10, 12, 14, 16, 18, 12)],  # new ones at the end of each iteration
        [EngineFacts(running=16, waiting=n) for n in (4, 0, 4, 4, 0, 4)],
        [EngineFacts(running=100, waiting=4)] * 6,  # somebody else's jobs: not for this gateway to judge
        [EngineFacts()] * 6,  # it does not tell
        [EngineFacts(running=0, waiting=9)] * 6,
    ],
)
async def test_what_is_no_sign_of_a_queue(facts: list[EngineFacts]) -> None:
    """The width stays."""
    house = House(FakeEngine("a"))
    await house.probe()
    house.fill(20)
    for each in facts:
        house.engines[0].facts = each
        await house.probe()

    assert house.pool.slots[0].max_running == 128


async def test_a_narrowed_engine_is_widened_again() -> None:
    """By one a probe while it is full and nothing waits there, up to what is configured."""
    house = House(FakeEngine("a", max_running=6))
    await house.probe()
    house.fill(20)
    house.engines[0].facts = EngineFacts(running=4, waiting=2)
    await house.probe(times=PROBES_UNTIL_PINNED + 1)
    widths = [house.pool.slots[0].max_running]
    for running in (4, 5, 6, 6):
        house.engines[0].facts = EngineFacts(running=running, waiting=0)
        await house.probe()
        widths.append(house.pool.slots[0].max_running)

    assert widths == [4, 5, 6, 6, 6]
