"""Logs, followers and parking, without sockets."""

import asyncio
import json
from typing import Any

import pytest

from gateway.clock import ManualClock
from gateway.core import events as core
from gateway.core.pace import pace_from_spec
from gateway.engines.base import Resumability, ResumeLevel
from gateway.errors import EngineFailed, GatewayError, StreamNotFound
from gateway.runtime.readers import Desk
from gateway.runtime.state import ReaderReport
from gateway.stores.memory_streams import MemoryStreamLog
from gateway.stores.stream_log import LogLimits
from tests.runtime.fakes import FakeEngine, FakeOutlet
from tests.runtime.house import House, ended, house, meter_of
from tests.support.waiting import eventually

READING_RATE = pace_from_spec("reading").rate
"""Tokens a second."""


def last_words(error: GatewayError | None) -> bytes:
    return b"data: end\n\n" if error is None else f"data: {error.code}\n\n".encode()


def kept_events(outlet: FakeOutlet) -> list[bytes]:
    """What came of the log; a state is of the moment."""
    return [each for each in outlet.written if each.startswith(b"id:")]


def states(outlet: FakeOutlet) -> list[dict[str, Any]]:
    """What was told of how the stream stands."""
    mark = b"event: andante\ndata: "
    return [json.loads(each.removeprefix(mark)) for each in outlet.written if each.startswith(mark)]


def desk(made: House, *, window_s: float = 60.0, limits: LogLimits | None = None) -> Desk:
    return Desk(MemoryStreamLog(limits), made.dispatcher, made.clock, window_s=window_s)


def engine(level: ResumeLevel = ResumeLevel.REPLAY) -> FakeEngine:
    made = FakeEngine("a", max_running=1)
    made.resumability = Resumability(level)
    return made


async def test_two_readers_each_from_its_own_place() -> None:
    """Numbers count the log's events, whoever reads; the end is the last one."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        first, second = FakeOutlet(), FakeOutlet()
        reader = shelf.follow(name, "alice", first, 0, last_words)
        reader.start()
        leg = await made.leg()
        leg.token(b"1")
        leg.token(b"2")
        late = shelf.follow(name, "alice", second, 1, last_words)
        late.start()
        leg.token(b"3")
        leg.sink.completed()
        assert await ended(job) is None
        await asyncio.gather(reader.done, late.done)
        assert b"".join(kept_events(first)) == b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in (1, 2, 3)) + (
            b"id: 4\ndata: end\n\n"
        )
        assert b"".join(second.written).startswith(b"id: 2\ndata: 2\n\nid: 3")
        again = FakeOutlet()
        shelf.follow(name, "alice", again, 3, last_words).start()
        assert again.written == [b"id: 4\ndata: end\n\n"]


async def test_only_the_owner_exists() -> None:
    """For others there is no such stream."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        for call in (
            lambda: shelf.follow(name, "bob", FakeOutlet(), 0, last_words),
            lambda: shelf.stop(name, "bob"),
            lambda: shelf.report(name, "bob", ReaderReport()),
        ):
            with pytest.raises(StreamNotFound):
                call()
        shelf.report(name, "alice", ReaderReport(visible=False))
        shelf.stop(name, "alice")
        assert await ended(job) is None
        assert job.abandoned


async def test_a_job_is_parked_without_readers_and_goes_on_with_one() -> None:
    """Its room is free for the next job meanwhile; the tokens are paid once."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        reader = shelf.follow(name, "alice", FakeOutlet(), 0, last_words)
        reader.start()
        leg = await made.leg()
        leg.token(b"1", tokens=4)
        reader.leave()
        assert (leg.aborted, job.parked) == (True, True)
        other = made.submit()
        (await made.leg(number=1)).sink.completed()
        assert await ended(other) is None
        account = made.pool.scheduler._roster.counters.account("t")
        charged = account.counter
        outlet = FakeOutlet()
        shelf.follow(name, "alice", outlet, 1, last_words).start()
        back = await made.leg(number=2)
        assert account.counter == charged
        assert back.request.transcript is leg.request.transcript
        back.token(b"2", tokens=2)
        back.sink.completed()
        assert await ended(job) is None
        await eventually(lambda: outlet.written[-1:] == [b"id: 3\ndata: end\n\n"])
        assert meter_of(job).released == [10 + 6]
        assert made.watcher.paused == [("a", "away")]


async def test_what_cannot_go_on_runs_on_without_readers() -> None:
    """Into its log, which the reader finds when it is back."""
    async with house(engine(ResumeLevel.NO)) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        reader = shelf.follow(name, "alice", FakeOutlet(), 0, last_words)
        reader.start()
        leg = await made.leg()
        leg.token(b"1")
        reader.leave()
        assert not leg.aborted
        leg.token(b"2")
        leg.sink.completed()
        assert await ended(job) is None
        outlet = FakeOutlet()
        shelf.follow(name, "alice", outlet, 0, last_words).start()
        assert outlet.written == [b"id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: end\n\n"]


@pytest.mark.parametrize("back", [True, False])
async def test_a_reader_has_its_window(back: bool) -> None:
    """Who is back in time loses nothing; who is not is booked and forgotten."""
    async with house(engine()) as made:
        shelf, job = desk(made, window_s=0.05), made.submit()
        name = shelf.open(job, "alice", last_words)
        reader = shelf.follow(name, "alice", FakeOutlet(), 0, last_words)
        reader.start()
        (await made.leg()).token()
        reader.leave()
        if back:
            shelf.follow(name, "alice", FakeOutlet(), 0, last_words).start()
            (await made.leg(number=1)).sink.completed()
            assert await ended(job) is None
        else:
            assert await ended(job) is None
        assert [end.outcome for end in made.watcher.ended] == ["completed" if back else "reader_left"]


async def test_a_slow_reader_stops_the_engine_only_if_all_are_slow() -> None:
    """And gets what it missed from the log when its socket has room."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        slow, quick = FakeOutlet(full=True), FakeOutlet()
        readers = [shelf.follow(name, "alice", outlet, 0, last_words) for outlet in (slow, quick)]
        for reader in readers:
            reader.start()
        leg = await made.leg()
        leg.token(b"1")
        leg.token(b"2")
        assert (len(slow.written), len(quick.written), leg.paused) == (1, 2, False)
        quick.full = True
        leg.token(b"3")
        assert leg.paused
        slow.full = False
        readers[0].resume()
        assert not leg.paused
        assert slow.written[1:] == [b"id: 2\ndata: 2\n\nid: 3\ndata: 3\n\n"]
        made.dispatcher.cancel(job)


async def test_a_log_that_overflows_says_so() -> None:
    """A reader who is too far behind gets an error, not a gap."""
    async with house(engine()) as made:
        shelf, job = desk(made, limits=LogLimits(max_bytes=30)), made.submit()
        name = shelf.open(job, "alice", last_words)
        outlet = FakeOutlet(full=True)
        reader = shelf.follow(name, "alice", outlet, 0, last_words)
        reader.start()
        shelf.follow(name, "alice", FakeOutlet(), 0, last_words).start()
        leg = await made.leg()
        for number in range(6):
            leg.token(b"%d" % number)
        reader.resume()
        assert outlet.written[-1] == b"data: stream_gone\n\n"
        assert reader.done.done()
        made.dispatcher.cancel(job)


async def test_states_and_comments_are_not_kept() -> None:
    """They go to whoever reads now; a state only when it has changed."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        outlet = FakeOutlet()
        shelf.follow(name, "alice", outlet, 0, last_words).start()
        (kept,) = shelf.kept
        await made.leg()
        kept.show_state()
        kept.show_state()
        job.comment()
        (state, comment) = outlet.written
        assert state.startswith(b'event: andante\ndata: {"state":"running"')
        assert comment == b": keep-alive\n"
        assert list(shelf.log.read(name, 0, max_bytes=99).events) == []
        made.dispatcher.cancel(job)


async def test_the_scheduler_hears_of_a_reader_who_does_not_look() -> None:
    """The last word of a round, and only that."""
    async with house(engine()) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        heard: list[tuple[str, bool]] = []

        def reader(job_id: str, report: core.ReaderReport, now: float) -> None:
            heard.append((job_id, report.visible))

        made.pool.scheduler.reader = reader  # type: ignore[method-assign]
        for visible in (True, False):
            shelf.report(name, "alice", ReaderReport(visible=visible, rtt_s=0.1))
        (kept,) = shelf.kept
        for _ in range(2):
            shelf._pass_on(kept)
        assert heard == [(name, False)]
        made.dispatcher.cancel(job)


async def test_a_log_of_an_earlier_process_ends_with_an_error() -> None:
    """Nobody will write it any more."""
    log = MemoryStreamLog()
    log.open("s", "alice", now=0.0)
    log.append("s", [b"data: 1\n\n"], now=0.0)
    async with house(engine()) as made:
        shelf = Desk(log, made.dispatcher, ManualClock(), window_s=1.0)
        outlet = FakeOutlet()
        reader = shelf.follow("s", "alice", outlet, 0, last_words)
        reader.start()
        assert outlet.written == [b"id: 1\ndata: 1\n\n", b"data: stream_gone\n\n"]
        reader.leave()


async def test_a_failure_is_the_log_s_last_word() -> None:
    """As an error, for every reader."""
    async with house(engine(ResumeLevel.NO)) as made:
        shelf, job = desk(made), made.submit()
        name = shelf.open(job, "alice", last_words)
        outlet = FakeOutlet()
        shelf.follow(name, "alice", outlet, 0, last_words).start()
        leg = await made.leg()
        leg.token(b"1")
        leg.sink.failed(EngineFailed("broken"))
        assert isinstance(await ended(job), EngineFailed)
        await eventually(lambda: outlet.written[-1:] == [b"id: 2\ndata: engine_failed\n\n"])
