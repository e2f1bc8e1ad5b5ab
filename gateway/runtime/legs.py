"""Legs, begun and given up: what a plan says of them is done here; the scheduler hears when room is free again."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Final

from gateway.clock import Clock
from gateway.core.events import LegEnded
from gateway.engines.base import Engine, LegRequest
from gateway.errors import EngineBusy, EngineError, EngineFailed, EngineUnreachable
from gateway.runtime.accounting import leg_end, observe
from gateway.runtime.instrument import Instrument
from gateway.runtime.pool import Pool
from gateway.runtime.stream import Stream

ABORT_SETTLE_S: Final = 0.05  # an engine notices a closed connection within about 35 ms; its room is ours after that

Spawn = Callable[[Coroutine[None, None, None]], None]


class Legs:
    """`changed` is called when an engine has room again, or is found to be down."""

    def __init__(self, instrument: Instrument, clock: Clock, spawn: Spawn, changed: Callable[[Pool], None]) -> None:
        self._clock = clock
        self._instrument = instrument
        self._spawn = spawn
        self._changed = changed
        self._leaving: set[str] = set()

    def begin(self, pool: Pool, stream: Stream, engine_id: str, now: float) -> None:
        """Perform a plan's start or resume."""
        engine = pool.engine(engine_id)
        if stream.begin(engine, now):
            request = replace(stream.leg_request(), priority=pool.scheduler.priority(stream.request.id))
            self._spawn(self._run(pool, stream, engine, request))
        else:
            failure = EngineFailed("This engine cannot go on with the answer.")
            asyncio.get_running_loop().call_soon(self._refuse, stream, stream.legs, failure)

    def pause(self, pool: Pool, stream: Stream, now: float, reason: str) -> bool:
        """Stop the stream's leg and keep what it said; False when that would lose it, and it runs on."""
        engine_id = stream.engine_id
        if engine_id is None or not stream.can_go_on:
            return False
        observe(pool, stream, self._instrument, now)  # what has come belongs to this leg
        self.let_go(pool, stream, now)
        self._instrument.leg_paused(pool.settings.model, engine_id, reason)
        self.free_later(pool, stream.request.id)
        return True

    def park(self, pool: Pool, stream: Stream, now: float) -> None:
        """Take a stream out of engine and queue until its reader is back; one that would lose something runs on."""
        if not stream.can_go_on:
            return
        observe(pool, stream, self._instrument, now)
        if stream.engine_id is None or self.pause(pool, stream, now, "away"):
            pool.scheduler.park(stream.request.id, now)
            stream.parked = True
            self._changed(pool)

    def let_go(self, pool: Pool, stream: Stream, now: float) -> None:
        """Give the engine up and book what going on there had cost."""
        stream.drop_leg()
        leg_end(pool, stream, self._instrument, now)

    def free_later(self, pool: Pool, job_id: str) -> None:
        """The engine was told to stop: its room is free when it has noticed."""
        if job_id not in self._leaving:
            self._leaving.add(job_id)
            asyncio.get_running_loop().call_later(ABORT_SETTLE_S, self.free, pool, job_id)

    def free(self, pool: Pool, job_id: str) -> None:
        """The engine holds nothing of the job any more."""
        self._leaving.discard(job_id)
        pool.scheduler.leg_ended(job_id, LegEnded(), self._clock.now())
        self._changed(pool)

    async def _run(self, pool: Pool, stream: Stream, engine: Engine, request: LegRequest) -> None:
        number, engine_id = stream.legs, engine.settings.id
        try:
            leg = await engine.start(request, stream)
        except EngineUnreachable as error:
            pool.unreachable(engine_id, lambda: self._changed(pool))
            failure: EngineError = error
        except EngineError as error:  # it is there, but this leg cannot be begun
            failure = error
        except Exception as error:  # noqa: BLE001 - the task's edge: a bug in an adapter must not leave a client waiting
            self._instrument.leg_failed(pool.settings.model, engine_id, "internal_error", repr(error))
            failure = EngineFailed("The request could not be sent.")
        else:
            if stream.on_leg(number):
                stream.attach_leg(leg)
            else:
                leg.abort()
            return
        self._refuse(stream, number, failure)

    def _refuse(self, stream: Stream, number: int, failure: EngineError) -> None:
        if stream.on_leg(number):
            stream.failed(failure)


def goes_on(pool: Pool, stream: Stream, engine_id: str, error: EngineError) -> bool:
    """Whether another leg may follow a broken one."""
    if stream.produced and not stream.course.open:
        return False
    if isinstance(error, EngineBusy):
        return True  # it waits in our queue, for as long as anyone may
    if not stream.produced and not isinstance(error, EngineFailed):
        return False
    if stream.course.failed(stream.produced) >= pool.settings.attempts:
        return False
    # Who has read a beginning waits for an engine to come back; who has not may as well ask again.
    return stream.produced > 0 or pool.ready_besides(engine_id)
