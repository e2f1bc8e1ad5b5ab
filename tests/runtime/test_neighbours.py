"""Streams of a dead gateway that find no room here: tried again, and at last ended so that their readers hear why."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.core.limits import LimitState, Reservation
from gateway.core.waiting_room import QueueLimits
from gateway.runtime import neighbours as module
from gateway.runtime.admission import Admission
from gateway.runtime.handover import packed
from gateway.runtime.neighbours import Neighbours
from gateway.runtime.readers import Desk
from gateway.runtime.stream import JobRequest
from gateway.stores.memory_streams import MemoryStreamLog
from gateway.stores.stream_exchange import Inheritance, StreamExchange
from tests.runtime.fakes import FakeEngine, FakeMeter, FakeOutlet, job_request
from tests.runtime.house import House, ended, house
from tests.runtime.test_readers import kept_events, last_words
from tests.support.waiting import eventually


class OneDead:
    """An exchange whose only stream has lost its writer, and is claimed here."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self.claims = 0

    def watch(self, watcher: object) -> None: ...

    def keep(self, stream_id: str, record: object) -> None: ...

    def reading(self, stream_id: str) -> None: ...

    async def attach(self, stream_id: str) -> None: ...

    def more_to_come(self, stream_id: str) -> bool:
        return True

    async def claim(self, stream_id: str) -> Inheritance | None:
        self.claims += 1
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


async def test_a_stream_that_never_finds_room_ends_with_an_error() -> None:
    """Its readers wait for its window at most."""
    async with house(FakeEngine("a", max_running=1), **busy()) as made:
        jobs = [made.submit(), made.submit()]
        shelf, name, _ = full_house(made, window_s=0.03)
        await shelf.fetch(name, "alice", last_words)
        outlet = FakeOutlet()
        reader = shelf.follow(name, "alice", outlet, 0, last_words)
        reader.start()
        async with asyncio.timeout(5.0):
            await reader.done
        words: Sequence[bytes] = kept_events(outlet)
        assert words == [b"id: 1\ndata: queue_full\n\n"]
        for job in jobs:
            made.dispatcher.cancel(job)
            await ended(job)


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
