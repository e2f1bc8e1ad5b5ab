"""Streams of a dead gateway that find no room here: tried again, and at last ended so that their readers hear why.

Where this gateway stops meanwhile they are left to the others, and their readers sent there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.core.limits import LimitState, Reservation
from gateway.core.waiting_room import QueueLimits
from gateway.errors import Draining
from gateway.runtime import neighbours as module
from gateway.runtime.admission import Admission
from gateway.runtime.followers import Follower
from gateway.runtime.handover import packed
from gateway.runtime.neighbours import Neighbours
from gateway.runtime.readers import Desk
from gateway.runtime.stream import JobRequest
from gateway.stores.memory_streams import MemoryStreamLog
from gateway.stores.stream_exchange import Inheritance, StreamExchange, StreamWatcher
from tests.runtime.fakes import FakeEngine, FakeMeter, FakeOutlet, job_request
from tests.runtime.house import House, ended, house
from tests.runtime.test_readers import kept_events, last_words
from tests.support.waiting import eventually


class OneDead:
    """An exchange whose only stream has lost its writer, and is claimed here."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self.claims = 0
        self.watcher: StreamWatcher | None = None
        self.attached: Callable[[], None] = lambda: None  # what happens meanwhile
        self.claimed: Callable[[], None] = lambda: None

    def watch(self, watcher: StreamWatcher) -> None:
        self.watcher = watcher

    def runtime(self) -> StreamWatcher:
        """Who is told."""
        assert self.watcher is not None
        return self.watcher

    def keep(self, stream_id: str, record: object) -> None: ...

    def reading(self, stream_id: str) -> None: ...

    async def attach(self, stream_id: str) -> None:
        self.attached()

    def more_to_come(self, stream_id: str) -> bool:
        return True

    async def claim(self, stream_id: str) -> Inheritance | None:
        self.claims += 1
        self.claimed()
        return Inheritance("alice", packed(self._request), list[bytes](), 2, 0)


class Door:
    """The admission, as far as it is asked."""

    def take_over(self, request: JobRequest) -> JobRequest:
        return replace(request, meter=FakeMeter())


def full_house(made: House, window_s: float) -> tuple[Desk, str, OneDead]:
    """A desk with the dead gateway's stream in its log."""
    held = Reservation(1, "key", 5, LimitState(None, None))
    lost = replace(job_request(), reservation=held)
    exchange = OneDead(lost)
    log = MemoryStreamLog()
    log.open(lost.id, "alice", now=0.0)
    near = Neighbours(cast("StreamExchange", exchange), made.dispatcher, cast("Admission", Door()))
    return Desk(log, made.dispatcher, made.clock, window_s=window_s, neighbours=near), lost.id, exchange


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)


def stop(made: House) -> None:
    """What SIGTERM does first."""
    made.dispatcher.draining = True


def read(shelf: Desk, name: str) -> tuple[FakeOutlet, Follower]:
    """A reader of the stream as it is here: a copy."""
    outlet = FakeOutlet()
    reader = shelf.follow(name, "alice", outlet, 0, last_words)
    reader.start()
    return outlet, reader


def busy() -> dict[str, Any]:
    return {"limits": QueueLimits(max_jobs=1, max_jobs_per_tenant=1)}


async def test_a_stream_that_found_no_room_goes_on_once_there_is_some() -> None:
    """Nobody must ask for it again: one claim, then a try after each pause."""
    engine = FakeEngine("a", max_running=1)
    async with house(engine, **busy()) as made:
        jobs = [made.submit(), made.submit()]  # one runs, one fills the queue
        shelf, name, exchange = full_house(made, window_s=60.0)
        await shelf.fetch(name, "alice", last_words)
        assert shelf.find(name) is None
        for job in jobs:
            made.dispatcher.cancel(job)
        await eventually(lambda: shelf.find(name) is not None)
        assert exchange.claims == 1
        kept = shelf.find(name)
        assert kept is not None
        assert kept.stream is not None
        made.dispatcher.cancel(kept.stream)


@asynccontextmanager
async def without_room(window_s: float) -> AsyncIterator[tuple[House, FakeOutlet, Follower]]:
    """A reader of the dead gateway's stream here, where one job runs and another one fills the queue."""
    async with house(FakeEngine("a", max_running=1), **busy()) as made:
        jobs = [made.submit(), made.submit()]
        shelf, name, _ = full_house(made, window_s)
        await shelf.fetch(name, "alice", last_words)
        yield made, *read(shelf, name)
        for job in jobs:
            made.dispatcher.cancel(job)
            await ended(job)


async def test_a_stream_that_never_finds_room_ends_with_an_error() -> None:
    """Its readers wait for its window at most."""
    async with without_room(window_s=0.03) as (_, outlet, reader):
        async with asyncio.timeout(5.0):
            await reader.done
        words: Sequence[bytes] = kept_events(outlet)
        assert words == [b"id: 1\ndata: queue_full\n\n"]


async def test_who_comes_back_is_not_dropped_by_an_earlier_leaving() -> None:
    """However often nobody read: only the last leaving counts."""
    async with house(FakeEngine("a", max_running=1)) as made:
        shelf, job = Desk(MemoryStreamLog(), made.dispatcher, made.clock, window_s=0.05), made.submit()
        name = shelf.open(job, "alice", last_words)
        kept = shelf.find(name)
        assert kept is not None
        shelf.nobody_reads(kept)
        shelf.nobody_reads(kept)
        shelf.follow(name, "alice", FakeOutlet(), 0, last_words)
        await asyncio.sleep(0.1)
        assert not job.end.done()
        made.dispatcher.cancel(job)


async def test_who_asks_just_before_the_gateway_stops_is_sent_to_another_one() -> None:
    """It would read a copy that nobody goes on with here, until the gateway has ended."""
    async with house(FakeEngine("a")) as made:
        shelf, name, exchange = full_house(made, window_s=60.0)
        exchange.attached = lambda: stop(made)
        with pytest.raises(Draining):
            await shelf.fetch(name, "alice", last_words)
        assert exchange.claims == 0


async def test_what_was_claimed_just_before_the_gateway_stops_does_not_end() -> None:
    """Its readers go to another gateway, which may claim it at once: not a word is written."""
    async with house(FakeEngine("a")) as made:
        shelf, name, exchange = full_house(made, window_s=60.0)
        outlet, reader = read(shelf, name)
        exchange.claimed = lambda: stop(made)
        exchange.runtime().orphaned(name)
        async with asyncio.timeout(5.0):
            await reader.done
        assert exchange.claims == 1
        assert outlet.written == []
        assert shelf.log.read(name, 0, max_bytes=1).events == []


async def test_what_finds_no_room_until_the_gateway_stops_does_not_end() -> None:
    """Another gateway may have some."""
    async with without_room(window_s=60.0) as (made, outlet, reader):
        stop(made)
        async with asyncio.timeout(5.0):
            await reader.done
        assert outlet.written == []


async def test_readers_of_a_stream_that_comes_here_no_more_are_sent_away() -> None:
    """Without a last word: they read on elsewhere."""
    async with house(FakeEngine("a")) as made:
        shelf, name, exchange = full_house(made, window_s=60.0)
        readers = [read(shelf, name) for _ in range(2)]
        exchange.runtime().lost(name)
        assert all(reader.done.done() for _, reader in readers)
        assert [outlet.written for outlet, _ in readers] == [[], []]
        assert shelf.find(name) is None
