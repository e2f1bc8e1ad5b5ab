"""A dispatcher with fake engines, on a clock that stands still, and what must be clean when it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.clock import ManualClock
from gateway.core.waiting_room import QueueLimits
from gateway.errors import (
    GatewayError,
)
from gateway.runtime.caretaker import Caretaker, ClientTimeouts
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.stream import Stream
from tests.runtime.fakes import (
    FakeEngine,
    FakeLeg,
    FakeMeter,
    Watcher,
    job_request,
    make_pool,
)
from tests.support.waiting import eventually


class House:
    """A dispatcher with its engines, on a clock that stands still."""

    def __init__(self, engines: list[FakeEngine], limits: QueueLimits | None, **settings: Any) -> None:
        self.engines = engines
        self.clock = ManualClock()
        self.watcher = Watcher()
        self.pool = make_pool(engines, self.watcher, clock=self.clock, limits=limits, **settings)
        self.timeouts = ClientTimeouts(keepalive_s=15.0, stalled_s=120.0)
        self.dispatcher = Dispatcher([self.pool], self.clock, self.watcher, self.timeouts)

    def submit(self, *, stream: bool = True) -> Stream:
        return self.dispatcher.submit(job_request(stream=stream))

    async def leg(self, number: int = 0, engine: int = 0) -> FakeLeg:
        """The engine's leg of that number, once it has been started."""
        await eventually(lambda: len(self.engines[engine].legs) > number)
        return self.engines[engine].legs[number]

    def sweep(self) -> None:
        """What the caretaker does once a second."""
        caretaker = Caretaker(self.dispatcher, self.clock, self.watcher, self.timeouts)
        for stream in self.dispatcher.streams:
            caretaker._look_at(stream, self.clock.now())

    async def clean(self) -> None:
        """Nothing is left, and every job was booked once."""
        scheduler = self.pool.scheduler
        await eventually(lambda: len(scheduler) == 0)
        assert self.dispatcher.streams == ()
        assert scheduler.waiting == 0
        assert [scheduler.running(engine.settings.id) for engine in self.engines] == [0] * len(self.engines)
        assert len(self.watcher.ended) == self.watcher.queued
        assert self.watcher.produced == sum(end.completion_tokens for end in self.watcher.ended)


@asynccontextmanager
async def house(*engines: FakeEngine, limits: QueueLimits | None = None, **settings: Any) -> AsyncIterator[House]:
    made = House(list(engines) or [FakeEngine("a")], limits, **settings)
    await made.dispatcher.start()
    yield made
    await made.dispatcher.stop()
    await made.clean()
    assert all(engine.closed for engine in made.engines)


def meter_of(stream: Stream) -> FakeMeter:
    meter = stream.request.meter
    assert isinstance(meter, FakeMeter)
    return meter


async def ended(stream: Stream) -> GatewayError | None:
    return await asyncio.wait_for(asyncio.shield(stream.end), 5.0)
