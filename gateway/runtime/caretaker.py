"""What happens by the clock alone: accounts are settled, silent clients hear something, the stuck are given up."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from gateway.clock import Clock
from gateway.errors import EngineFailed
from gateway.runtime.accounting import observe
from gateway.runtime.instrument import Instrument
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.stream import Stream

ACCOUNT_S: Final = 0.1
SWEEP_S: Final = 0.5
FROZEN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Silence after which a client gets a comment, and how long one may read nothing (s)."""

    keepalive_s: float = 15.0
    stalled_s: float = 120.0


class Streams(Protocol):
    """What the caretaker looks after: the dispatcher."""

    @property
    def streams(self) -> Sequence[Stream]: ...

    @property
    def pools(self) -> Sequence[Pool]: ...

    def pool(self, model: str) -> Pool: ...

    def give_up(self, stream: Stream, outcome: str) -> None: ...


class Caretaker:
    """Two endless rounds, each cheap: one settles, one looks for what stands still."""

    def __init__(self, owner: Streams, clock: Clock, instrument: Instrument, timeouts: ClientTimeouts) -> None:
        self._owner = owner
        self._clock = clock
        self._instrument = instrument
        self._timeouts = timeouts

    async def account(self) -> None:
        await _every(ACCOUNT_S, self._settle)

    async def sweep(self) -> None:
        await _every(sweep_s([pool.settings for pool in self._owner.pools]), self._look_around)

    def _settle(self) -> None:
        for stream in self._owner.streams:
            if stream.produced != stream.flushed:
                pool = self._owner.pool(stream.request.model)
                observe(pool, stream, self._instrument, self._clock.now())
                if stream.engine_id is not None:
                    pool.hears(stream.engine_id)

    def _look_around(self) -> None:
        now = self._clock.now()
        for stream in self._owner.streams:
            self._look_at(stream, now)
        self._leave_frozen_engines(now)
        for pool in self._owner.pools:
            running = sum(pool.scheduler.running(slot.id) for slot in pool.slots)
            scheduler = pool.scheduler
            self._instrument.pool_load(pool.settings.model, scheduler.waiting, running, overloaded=scheduler.overloaded)

    def _leave_frozen_engines(self, now: float) -> None:
        """An engine that answers no probe and sends nothing at all will not begin an answer either.

        Silence alone is not enough, since a busy engine may be slow to answer a probe while it generates.
        """
        heard: dict[tuple[str, str], float] = {}
        for stream in self._owner.streams:
            if stream.engine_id is not None:
                place = (stream.request.model, stream.engine_id)
                heard[place] = max(heard.get(place, 0.0), stream.last_heard)
        for stream in self._owner.streams:
            if stream.engine_id is None or not (stream.first_token_at is None or stream.can_go_on):
                continue
            model = stream.request.model
            if self._owner.pool(model).is_down(stream.engine_id) and now - heard[model, stream.engine_id] > FROZEN_S:
                stream.failed(EngineFailed("The engine is down and silent."))

    def _look_at(self, stream: Stream, now: float) -> None:
        request = stream.request
        # Also a stream that stands still must show its reservation that it lives.
        request.meter.settle(request.prompt_tokens + stream.produced if stream.produced else 0)
        if stream.blocked_at is not None:
            if now - stream.blocked_at > self._timeouts.stalled_s:
                self._owner.give_up(stream, "client_stalled")
        elif stream.course.left_at is not None and self._is_stranded(stream, now):
            stream.failed(EngineFailed("No engine came back to go on with the answer."))
        elif stream.engine_id is not None and now - stream.last_heard > self._patience(stream):
            stream.failed(EngineFailed("The engine fell silent."))
        elif now - stream.last_sent > self._timeouts.keepalive_s:
            stream.comment()

    def _is_stranded(self, stream: Stream, now: float) -> bool:
        """Whether a stream that was cut has waited too long for an engine of its pool to be well."""
        pool = self._owner.pool(stream.request.model)
        left_at = stream.course.left_at
        waits = stream.engine_id is None and left_at is not None and not stream.parked
        return waits and not pool.ready and now - (left_at or now) > pool.settings.failover_wait_s

    def _patience(self, stream: Stream) -> float:
        """How long an engine may be silent at this point of a stream (s)."""
        settings = self._owner.pool(stream.request.model).settings
        if not stream.request.leg.stream:
            return settings.answer_timeout_s
        return settings.first_token_timeout_s if stream.first_token_at is None else settings.stall_timeout_s


def sweep_s(pools: Sequence[PoolSettings]) -> float:
    """Seconds from one look to the next: a silence is found within a tenth of what is allowed, if that is short."""
    allowed = min((min(each.first_token_timeout_s, each.stall_timeout_s) for each in pools), default=inf)
    return max(ACCOUNT_S, min(SWEEP_S, 0.1 * allowed))


async def _every(period_s: float, step: Callable[[], None]) -> None:
    """Take the step for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(period_s)
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the task's edge: one bad round must not be the last
            loop.call_exception_handler({"message": "a round of the caretaker failed", "exception": error})
