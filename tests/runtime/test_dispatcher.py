"""A job's ways through the dispatcher: whatever happens, scheduler, limits and streams are clean afterwards."""

import pytest

from gateway.core.waiting_room import QueueLimits
from gateway.engines.base import EngineState
from gateway.errors import (
    Draining,
    EngineBusy,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnreachable,
    ModelNotFound,
    NoEngineReady,
    QueueTimeout,
)
from tests.runtime.fakes import (
    MODEL,
    USAGE,
    FakeEngine,
    FakeOutlet,
)
from tests.runtime.house import ended, house, meter_of
from tests.support.waiting import eventually


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("stage", ["queued", "connecting", "prefill", "decode"])
async def test_a_client_may_leave_at_any_stage(stage: str, stream: bool) -> None:
    """Its generation is stopped, its reservation released once for what it used, its room given to the next."""
    async with house(FakeEngine("a", max_running=1)) as made:
        engine = made.engines[0]
        first = made.submit() if stage == "queued" else None
        if stage == "connecting":
            engine.gate.clear()
        job = made.submit(stream=stream)
        tokens = 0
        if stage == "connecting":
            await eventually(lambda: engine.asked == 1)
        elif stage in {"prefill", "decode"}:
            leg = await made.leg()
            if stage == "decode" and stream:
                leg.token(tokens=3)
                tokens = 3
        made.dispatcher.cancel(job)
        made.dispatcher.cancel(job)

        assert await ended(job) is None
        assert job.abandoned
        assert meter_of(job).released == [0 if stage == "queued" else 10 + tokens]
        assert [end.outcome for end in made.watcher.ended] == ["cancelled"]
        engine.gate.set()
        if first is not None:
            assert len(engine.legs) == 1
            made.dispatcher.cancel(first)
        after = made.submit()
        leg = await made.leg(number=1)
        assert engine.legs[0].aborted
        leg.token()
        leg.sink.completed()
        assert await ended(after) is None


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_good_life(stream: bool) -> None:
    """Served, counted by the engine's own usage, room free at once."""
    async with house() as made:
        job = made.submit(stream=stream)
        leg = await made.leg()
        if stream:
            job.follow(outlet := FakeOutlet())
            leg.token(b"1", tokens=2)
            leg.token(b"2")
            leg.sink.counted(USAGE)
            leg.sink.completed()
            assert outlet.written == [b"data: 1\n\n", b"data: 2\n\n"]
        else:
            leg.sink.answered(b"{}", USAGE)

        assert await ended(job) is None
        assert not job.abandoned
        assert len(made.pool.scheduler) == 0
        assert meter_of(job).released == [15]
        (end,) = made.watcher.ended
        assert (end.outcome, end.prompt_tokens, end.completion_tokens, end.legs) == ("completed", 12, 3, 1)


@pytest.mark.parametrize("error", [EngineFailed("broken"), EngineBusy("full")])
async def test_a_leg_that_fails_before_a_token_goes_elsewhere(error: EngineError) -> None:
    """The client hears nothing of it; what the first leg had sent without a token is forgotten."""
    async with house(FakeEngine("a"), FakeEngine("b")) as made:
        job = made.submit()
        leg = await made.leg()
        leg.sink.events(b"data: role\n\n", 0)
        leg.sink.failed(error)
        again = await made.leg(engine=1)
        assert again.request.id != leg.request.id
        job.follow(outlet := FakeOutlet())
        again.token()
        again.sink.completed()

        assert await ended(job) is None
        assert outlet.written == [b"data: x\n\n"]
        assert made.watcher.failures == [("a", error.code)]
        assert made.watcher.ended[0].legs == 2


@pytest.mark.parametrize(
    ("engines", "error", "tokens"),
    [
        (["a"], EngineFailed("nobody else"), 0),
        (["a", "b"], EngineRefused("bad request", status=400), 0),
        (["a", "b"], EngineFailed("too late"), 1),
    ],
)
async def test_what_is_not_tried_again(engines: list[str], error: EngineError, tokens: int) -> None:
    """Nobody else is there, nobody else would take it, or the client has seen the beginning."""
    async with house(*map(FakeEngine, engines)) as made:
        job = made.submit()
        leg = await made.leg()
        if tokens:
            leg.token()
        leg.sink.failed(error)

        assert await ended(job) is error
        assert made.watcher.ended[0].outcome == error.code
        assert meter_of(job).released == [10 + tokens if tokens else 0]  # who got nothing owes nothing


async def test_attempts_are_counted() -> None:
    """Two engines that fail everything: three legs, then the error."""
    async with house(FakeEngine("a"), FakeEngine("b"), attempts=3) as made:
        job = made.submit()
        for engine, number in ((0, 0), (1, 0), (0, 1)):
            (await made.leg(number, engine)).sink.failed(EngineFailed("broken"))

        assert isinstance(await ended(job), EngineFailed)
        assert job.legs == 3


async def test_an_engine_that_cannot_be_reached_is_down_at_once() -> None:
    """The job goes to another one, the next job does not even try, and a good probe brings the engine back."""
    async with house(FakeEngine("a"), FakeEngine("b")) as made:
        first, second = made.engines
        first.failure, first.facts = EngineUnreachable("refused"), EngineFailed("refused")
        jobs = [made.submit()]
        await made.leg(engine=1)
        jobs.append(made.submit())
        await made.leg(engine=1, number=1)
        assert first.asked == 1
        assert ("a", EngineState.DOWN) in made.watcher.states
        first.failure, first.facts = None, second.facts
        await eventually(lambda: made.watcher.states[-1] == ("a", EngineState.READY))
        jobs.append(made.submit())
        await made.leg()
        for job in jobs:
            made.dispatcher.cancel(job)


async def test_a_bug_in_an_adapter_leaves_no_client_waiting() -> None:
    """It counts as a failure of the leg."""
    async with house() as made:
        made.engines[0].failure = ZeroDivisionError("a bug")
        job = made.submit()

        assert isinstance(await ended(job), EngineFailed)


@pytest.mark.parametrize("connected", [True, False])
async def test_a_silent_engine_is_left_for_another(connected: bool) -> None:
    """Its leg is aborted, also if it comes to be only when another one has taken over, and cannot speak any more."""
    async with house(FakeEngine("a"), FakeEngine("b"), first_token_timeout_s=5.0) as made:
        silent = made.engines[0]
        if not connected:
            silent.gate.clear()
        job = made.submit()
        if connected:
            await made.leg()
        else:
            await eventually(lambda: silent.asked == 1)
        made.clock.advance(4.0)
        made.sweep()
        assert job.legs == 1
        made.clock.advance(1.5)
        made.sweep()
        other = await made.leg(engine=1)
        silent.gate.set()
        assert (await made.leg()).aborted
        other.token()
        assert job._leg is other
        other.sink.completed()

        assert await ended(job) is None


async def test_a_stall_ends_a_stream_that_has_begun() -> None:
    """An error for the client, and the engine is told to stop."""
    async with house(stall_timeout_s=5.0) as made:
        job = made.submit()
        leg = await made.leg()
        leg.token()
        made.clock.advance(6.0)
        made.sweep()

        assert isinstance(await ended(job), EngineFailed)
        assert leg.aborted


async def test_a_stalled_client_is_given_up_and_a_silent_one_hears_something() -> None:
    """A comment for who waits for the engine; the end for who has read nothing for too long."""
    async with house() as made:
        job = made.submit()
        leg = await made.leg()
        job.follow(outlet := FakeOutlet())
        made.clock.advance(16.0)
        made.sweep()
        assert outlet.written == [b": keep-alive\n"]
        outlet.full = True
        leg.token()
        made.clock.advance(119.0)
        made.sweep()
        assert not job.end.done()
        made.clock.advance(2.0)
        made.sweep()

        assert await ended(job) is None
        assert (job.abandoned, leg.aborted) == (True, True)
        assert made.watcher.ended[0].outcome == "client_stalled"


async def test_the_queue_times_out() -> None:
    """At its time, by the dispatcher's own alarm."""
    async with house(FakeEngine("a", max_running=1), limits=QueueLimits(timeout_s=0.05)) as made:
        served, waiting = made.submit(), made.submit()
        made.clock.advance(0.1)

        assert isinstance(await ended(waiting), QueueTimeout)
        assert meter_of(waiting).released == [0]
        assert waiting.qoe == 0.0
        made.dispatcher.cancel(served)


async def test_the_door() -> None:
    """An unknown model, no engine ready, and shutting down."""
    async with house() as made:
        assert made.dispatcher.ready
        with pytest.raises(ModelNotFound):
            made.dispatcher.pool("nobody")
        made.engines[0].facts = EngineFailed("down")
        await eventually(lambda: not made.dispatcher.ready)
        with pytest.raises(NoEngineReady):
            made.submit()
        made.dispatcher.draining = True
        with pytest.raises(Draining):
            made.submit()


async def test_draining_waits_for_who_is_here() -> None:
    """The queue is served too; who cannot finish is told, wherever the job is."""
    async with house(FakeEngine("a", max_running=1)) as made:
        jobs = [made.submit() for _ in range(3)]
        (await made.leg()).sink.completed()
        second = await made.leg(number=1)
        assert not await made.dispatcher.drain(0.01)
        second.token()
        await made.dispatcher.stop()

        assert await ended(jobs[0]) is None
        assert [type(await ended(job)) for job in jobs[1:]] == [Draining, Draining]
        assert second.aborted
        assert await made.dispatcher.drain(0.01)
    assert made.pool.settings.model == MODEL
