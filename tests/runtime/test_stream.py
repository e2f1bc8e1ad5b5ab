"""How a stream delivers: at once to a machine, in groups to a reader who is ahead, never without bound."""

import asyncio

import pytest

from gateway.clock import ManualClock
from gateway.core.pace import MACHINE, Pace
from gateway.errors import EngineError, EngineFailed
from gateway.runtime.stream import COMMENT, GROUP_LEAD_S, MAX_HELD, Stream
from tests.runtime.fakes import USAGE, FakeEngine, FakeLeg, FakeOutlet, job_request
from tests.support.waiting import eventually

READER = Pace("custom", ttft_s=1.0, rate=10.0)


class Owner:
    """Remembers how legs ended."""

    def __init__(self) -> None:
        self.over: list[EngineError | None] = []

    def leg_over(self, stream: Stream, error: EngineError | None) -> None:
        self.over.append(error)


class Scene:
    """A stream on its first leg, with a client that follows unless told otherwise."""

    def __init__(self, pace: Pace = MACHINE, *, follow: bool = True) -> None:
        self.clock = ManualClock(100.0)
        self.owner = Owner()
        self.outlet = FakeOutlet()
        self.stream = Stream(job_request(pace=pace), self.owner, self.clock)
        self.stream.begin(FakeEngine("e"), self.clock.now())
        self.leg = FakeLeg(self.stream.leg_request(), self.stream)
        self.stream.attach_leg(self.leg)
        if follow:
            self.stream.follow(self.outlet)

    def tokens(self, count: int) -> None:
        for _ in range(count):
            self.leg.token()


async def test_a_machine_gets_every_token_at_once() -> None:
    """One write for each read of the engine, and the engine is never held."""
    scene = Scene()
    for number in range(50):
        scene.leg.token(str(number).encode())
        assert scene.outlet.written[-1] == b"data: %d\n\n" % number
        assert not scene.leg.paused

    assert len(scene.outlet.written) == scene.stream.delivered == scene.stream.produced == 50


async def test_what_came_before_the_client_follows_is_one_write() -> None:
    """The head is released by the first token, not by an event without one."""
    scene = Scene(follow=False)
    scene.stream.events(b"data: role\n\n", 0)
    assert not scene.stream.head.done()
    scene.leg.token()
    assert scene.stream.head.done()
    scene.stream.follow(scene.outlet)

    assert scene.outlet.written == [b"data: role\n\ndata: x\n\n"]


async def test_a_reader_gets_groups_only_once_ahead() -> None:
    """Ten tokens a second: the first ten at once; beyond, the engine's socket is left alone, then read in one gulp."""
    scene = Scene(READER)
    scene.tokens(round(GROUP_LEAD_S * 10))
    assert not scene.leg.paused
    assert len(scene.outlet.written) == 10
    scene.tokens(1)
    assert scene.leg.paused
    await eventually(lambda: not scene.leg.paused)
    scene.leg.token(b"gulp", tokens=5)
    assert scene.outlet.written[-1] == b"data: gulp\n\n"
    assert scene.leg.paused
    await eventually(lambda: not scene.leg.paused)
    scene.clock.advance(10.0)
    scene.tokens(5)

    assert not scene.leg.paused  # the reader has caught up: at once again


async def test_a_reader_is_not_held_at_the_end() -> None:
    """Nothing is scheduled for a stream that has ended."""
    scene = Scene(READER)
    scene.tokens(30)
    assert scene.leg.paused
    scene.stream.finish(None)

    assert scene.leg.aborted
    assert scene.stream._gulp is None


@pytest.mark.parametrize("pace", [MACHINE, READER], ids=["machine", "reader"])
async def test_a_full_socket_stops_the_engine(pace: Pace) -> None:
    """Blocked until the client has caught up, whatever the pace; silence meanwhile is not the engine's."""
    scene = Scene(pace)
    scene.outlet.full = True
    scene.tokens(1)
    assert scene.leg.paused
    assert scene.stream.blocked_at == 100.0
    scene.clock.advance(50.0)
    scene.stream.comment()
    assert scene.outlet.written[-1] != COMMENT
    scene.outlet.full = False
    scene.stream.resume()

    assert not scene.leg.paused
    assert scene.stream.blocked_at is None
    assert scene.stream.last_heard == 150.0
    scene.tokens(1)
    assert len(scene.outlet.written) == 2


async def test_a_gulp_does_not_wake_a_blocked_client() -> None:
    """The group's time has come but the socket is full: reading goes on when the client has caught up."""
    scene = Scene(READER)
    scene.tokens(10)
    scene.outlet.full = True
    scene.tokens(1)
    assert scene.stream.blocked_at is not None
    await eventually(lambda: scene.stream._gulp is None)
    assert scene.leg.paused
    scene.stream.resume()

    assert not scene.leg.paused


async def test_a_client_that_never_follows_costs_a_bounded_store() -> None:
    """An answer nobody has begun to take is read no further; all of it comes when it is taken."""
    scene = Scene(follow=False)
    while not scene.leg.paused:
        scene.tokens(1)
        assert scene.stream.produced <= MAX_HELD
    scene.stream.follow(scene.outlet)

    assert not scene.leg.paused
    assert scene.outlet.written == [b"data: x\n\n" * scene.stream.produced]


async def test_a_leg_that_is_attached_to_a_blocked_stream_waits() -> None:
    """The second leg of a stream knows what the first was told."""
    scene = Scene()
    scene.stream.block()
    leg = FakeLeg(scene.stream.leg_request(), scene.stream)
    scene.stream.attach_leg(leg)

    assert leg.paused


async def test_a_failure_found_from_outside_stops_the_leg() -> None:
    """Or a silent engine would come back to life in the middle of another one's answer."""
    scene = Scene(follow=False)
    scene.stream.events(b"data: role\n\n", 0)
    scene.stream.failed(EngineFailed("silent"))
    scene.stream.follow(scene.outlet)

    assert scene.leg.aborted
    assert scene.outlet.written == []
    assert [type(error) for error in scene.owner.over] == [EngineFailed]


async def test_ends() -> None:
    """A whole answer, a good end of a stream, and an end of which nobody may hear twice."""
    scene = Scene(follow=False)
    scene.leg.sink.answered(b"{}", USAGE)
    assert (scene.stream.answer, scene.stream.usage, scene.stream.produced) == (b"{}", USAGE, 3)
    assert scene.stream.head.done()
    scene.stream.finish(None)
    scene.stream.finish(EngineFailed("too late"))

    assert await asyncio.wait_for(scene.stream.end, 1.0) is None
    assert scene.owner.over == [None]


async def test_every_leg_has_an_id_of_its_own() -> None:
    """An engine may still know the leg before."""
    scene = Scene()
    first = scene.stream.leg_request().id
    scene.stream.begin(FakeEngine("f"), 101.0)

    assert scene.stream.leg_request().id == f"{first}-2"
    assert scene.stream.on_leg(2)
    assert not scene.stream.on_leg(1)
