"""Streams that lose their engine and go on: paused by a plan, failed over, waiting for an engine to come back."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.core.job import JobEvent, JobState
from gateway.core.plan import Pause, Plan, Reason
from gateway.engines.base import EngineState, Resumability, ResumeLevel
from gateway.errors import EngineBusy, EngineError, EngineFailed, EngineRefused
from gateway.runtime.accounting import observe
from gateway.runtime.course import PROGRESS_TOKENS
from gateway.runtime.pool import STRIKES_UNTIL_REST
from gateway.runtime.stream import Stream
from tests.runtime.fakes import USAGE, FakeEngine, FakeLeg, FakeOutlet
from tests.runtime.house import House, ended, house, meter_of
from tests.support.waiting import eventually


def engines(*names: str, **settings: Any) -> list[FakeEngine]:
    """Engines that go on with anything."""
    made = [FakeEngine(name, **settings) for name in names]
    for engine in made:
        engine.resumability = Resumability(ResumeLevel.REPLAY)
    return made


def pause(made: House, stream: Stream) -> None:
    """A plan as a policy would make it."""
    scheduler = made.pool.scheduler
    plan = scheduler.plan

    def pausing(now: float) -> Plan:
        scheduler.plan = plan  # type: ignore[method-assign]
        assert stream.engine_id is not None
        return replace(plan(now), pause=(Pause(stream.request.id, stream.engine_id, Reason.ROOM),))

    scheduler.plan = pausing  # type: ignore[method-assign]
    made.dispatcher._plan(made.pool)


async def newest(made: House, number: int) -> FakeLeg:
    """The leg of that number, counted over all engines."""
    await eventually(lambda: sum(len(engine.legs) for engine in made.engines) == number)
    (leg,) = [
        leg
        for engine in made.engines
        for leg in engine.legs
        if leg.request.id.count("-") == 2 and leg.request.id.endswith(f"-{number}")
    ] or [made.engines[0].legs[0]]
    return leg


async def test_a_plan_pauses_and_resumes() -> None:
    """The leg is aborted, its room free only after a while, and the next one goes on; the client sees one stream."""
    async with house(*engines("a", max_running=1)) as made:
        job = made.submit()
        job.follow(outlet := FakeOutlet())
        first = await made.leg()
        first.token(b"1", tokens=3)
        pause(made, job)
        assert first.aborted
        assert made.pool.scheduler.running("a") == 1
        second = await made.leg(number=1)
        assert second.request.id == f"{first.request.id}-2"
        assert second.request.transcript is first.request.transcript
        made.clock.advance(0.5)
        second.token(b"2", tokens=2)
        second.sink.counted(replace(USAGE, completion_tokens=5, resent_tokens=15, cached_tokens=12))
        second.sink.completed()

        assert await ended(job) is None
        assert outlet.written == [b"data: 1\n\n", b"data: 2\n\n"]
        assert meter_of(job).released == [12 + 5]
        assert made.watcher.paused == [("a", "room")]
        (cost,) = made.watcher.costs
        assert made.pool.scheduler._roster.fleet["a"].resumes.computed == 1 - 12 / 15
        assert (cost.level, cost.ttft_s, cost.resent_tokens, cost.cached_tokens) == ("replay", 0.5, 15, 12)


async def test_what_an_aborted_leg_counted_is_not_what_the_stream_used() -> None:
    """The next leg's tokens count, though its engine tells no usage; what the first one told of the prompt stays."""
    async with house(*engines("a", max_running=1)) as made:
        job = made.submit()
        first = await made.leg()
        first.token(tokens=3)
        first.sink.counted(replace(USAGE, resent_tokens=12, cached_tokens=8))
        pause(made, job)
        second = await made.leg(number=1)
        second.token(tokens=2)
        second.sink.completed()

        assert await ended(job) is None
        assert meter_of(job).released == [12 + 5]
        (end,) = made.watcher.ended
        assert (end.prompt_tokens, end.completion_tokens) == (12, 5)
        (cost,) = made.watcher.costs
        assert (cost.resent_tokens, cost.cached_tokens) == (3, None)


@pytest.mark.parametrize("tokens", [0, 3])
async def test_who_leaves_while_being_paused_is_gone(tokens: int) -> None:
    """The room comes back once, whether anything had been said or not."""
    async with house(*engines("a", max_running=1)) as made:
        job, waiting = made.submit(), made.submit()
        leg = await made.leg()
        if tokens:
            leg.token(tokens=tokens)
        pause(made, job)
        made.dispatcher.cancel(job)
        assert made.pool.scheduler.running("a") == 1
        assert await ended(job) is None
        (await made.leg(number=1)).token()
        made.dispatcher.cancel(waiting)


async def test_what_would_be_lost_is_not_paused() -> None:
    """The leg runs to its end, and holds its room until then."""
    async with house() as made:
        job = made.submit()
        leg = await made.leg()
        leg.token()
        pause(made, job)
        assert not leg.aborted
        leg.token()
        leg.sink.completed()
        assert await ended(job) is None


@pytest.mark.parametrize("told", ["by the accounts", "by the refusal"])
async def test_the_scheduler_hears_that_a_stream_cannot_go_on(told: str) -> None:
    """Before a plan asks for it, or when one does: the stream is not believed to be stopping, and never asked again."""
    async with house(*engines("a")) as made:
        job = made.submit()
        leg = await made.leg()
        leg.token()
        (inside,) = made.pool.scheduler._roster.jobs.values()
        inside.resumable = True  # as the scheduler would have it of an engine that could
        assert leg.request.transcript is not None
        leg.request.transcript.broken = "odd ids"
        if told == "by the accounts":
            observe(made.pool, job, made.watcher, made.clock.now())
        else:
            inside.move(JobEvent.PAUSE)
            pause(made, job)
        assert (inside.resumable, inside.state) == (False, JobState.RUNNING)
        leg.sink.completed()
        assert await ended(job) is None


@pytest.mark.parametrize("error", [EngineFailed("broken"), EngineBusy("full"), EngineRefused("odd", status=400)])
async def test_a_broken_stream_goes_on_elsewhere(error: EngineError) -> None:
    """Once there are tokens an engine's refusal is no answer to the client: it never asked for the continuation."""
    async with house(*engines("a", "b")) as made:
        job = made.submit()
        leg = await made.leg()
        leg.token(tokens=2)
        leg.sink.failed(error)
        other = await made.leg(engine=1)
        other.token()
        other.sink.completed()

        assert await ended(job) is None
        assert job.produced == 3


@pytest.mark.parametrize("error", [EngineFailed("no prompt"), EngineRefused("odd", status=400)])
async def test_a_leg_that_cannot_be_begun_is_no_dead_engine(error: EngineError) -> None:
    """It answers, but not what the rest of an answer needs: that leg is over and goes elsewhere, the engine stays."""
    first, second = engines("a", "b")
    async with house(first, second) as made:
        job = made.submit()
        leg = await made.leg()
        leg.token()
        second.failure = error
        leg.sink.failed(EngineFailed("broken"))
        again = await made.leg(number=1)
        again.sink.completed()

        assert await ended(job) is None
        assert (second.asked, made.watcher.failures[1:]) == (1, [("b", error.code)])
        assert ("b", EngineState.DOWN) not in made.watcher.states


async def test_an_engine_that_cannot_go_on_is_passed_over() -> None:
    """It is of another kind: the stream finds the one that can."""
    able, unable, other = engines("a", "b", "c")
    unable.resumability = Resumability(ResumeLevel.NO, "of another kind")
    async with house(able, unable, other, attempts=4) as made:
        job = made.submit()
        leg = await made.leg()
        leg.token(tokens=2)
        leg.sink.failed(EngineFailed("broken"))
        last = await made.leg(engine=2)
        assert unable.legs == []
        last.sink.completed()
        assert await ended(job) is None


async def test_failures_in_a_row_are_counted() -> None:
    """A request that breaks every engine ends; one that gets on between two failures does not."""
    async with house(*engines("a", "b"), attempts=3) as made:
        job = made.submit()
        for number in range(1, 7):
            leg = await newest(made, number)
            if number <= 4:
                leg.token(tokens=PROGRESS_TOKENS)
            leg.sink.failed(EngineFailed("broken"))
        assert isinstance(await ended(job), EngineFailed)
        assert job.legs == 6


async def test_a_stream_waits_for_its_only_engine_to_come_back() -> None:
    """For as long as the pool says; then the client hears of the failure."""
    (only,) = engines("a")
    async with house(only, failover_wait_s=10.0) as made:
        jobs = [made.submit() for _ in range(2)]
        legs = [await made.leg(number=number) for number in range(2)]
        well, only.facts = only.facts, EngineFailed("down")
        await eventually(lambda: ("a", EngineState.DOWN) in made.watcher.states)
        for leg in legs:
            leg.token()
            leg.sink.failed(EngineFailed("killed"))
        made.clock.advance(9.0)
        made.sweep()
        made.dispatcher.cancel(jobs[0])
        assert not jobs[1].end.done()
        only.facts = well
        back = await made.leg(number=2)
        back.token()
        only.facts = EngineFailed("down again")
        await eventually(lambda: made.watcher.states[-1] == ("a", EngineState.DOWN))
        back.sink.failed(EngineFailed("killed"))
        made.clock.advance(11.0)
        made.sweep()
        assert isinstance(await ended(jobs[1]), EngineFailed)


async def test_an_engine_whose_legs_break_rests() -> None:
    """Its health says that it is well: after three broken legs it gets nothing for a while, then one job at a time."""
    bad, good = engines("a", "b")
    async with house(bad, good) as made:
        slot = made.pool._slots["a"]
        jobs = [made.submit() for _ in range(2 * STRIKES_UNTIL_REST)]
        await eventually(lambda: len(bad.legs) == STRIKES_UNTIL_REST)
        for leg in tuple(bad.legs):
            leg.sink.failed(EngineFailed("broken"))
        assert slot.rests == 1
        await eventually(lambda: slot.rest == 0)
        assert slot.capacity().max_running == 1
        made.pool.hears("a")
        assert (slot.strikes, slot.rests, slot.capacity().max_running) == (0, 0, bad.settings.max_running)
        for job in jobs:
            made.dispatcher.cancel(job)
