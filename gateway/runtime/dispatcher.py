"""The owner of the schedulers: turns requests into jobs, plans into legs, and what legs report into events.

Everything runs on one event loop and nothing here waits while it holds a half-made change, so there are no locks.
"""

import asyncio
import contextlib
import math
from collections.abc import Coroutine, Sequence
from typing import Final

from gateway.clock import Clock
from gateway.core.events import LegEnded, Standing
from gateway.core.plan import Plan, Resume, Start
from gateway.engines.transcript import Transcript
from gateway.errors import (
    Draining,
    EngineBusy,
    EngineError,
    EngineFailed,
    GatewayError,
    ModelNotFound,
    NoEngineReady,
    QueueTimeout,
)
from gateway.runtime.accounting import job_end, job_spec, leg_end, observe
from gateway.runtime.caretaker import Caretaker, ClientTimeouts
from gateway.runtime.handover import inherit
from gateway.runtime.instrument import Instrument
from gateway.runtime.legs import Legs, goes_on
from gateway.runtime.pool import Pool
from gateway.runtime.stream import JobRequest, Stream

FIRST_PROBES_S: Final = 5.0


class Dispatcher:
    """All pools of one gateway process. `start` before the first `submit`, `stop` at the end."""

    def __init__(
        self,
        pools: Sequence[Pool],
        clock: Clock,
        instrument: Instrument,
        timeouts: ClientTimeouts,
    ) -> None:
        self._pools = {pool.settings.model: pool for pool in pools}
        self._clock = clock
        self._instrument = instrument
        self._timeouts = timeouts
        self._streams: dict[str, Stream] = {}
        self._legs = Legs(instrument, clock, self._spawn, self._consider)
        self._wakeups: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.draining = self.crippled = False  # crippled: a task that should run for ever has ended

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self._streams)} streams, {len(self._pools)} pools>"

    @property
    def pools(self) -> Sequence[Pool]:
        return tuple(self._pools.values())

    @property
    def ready(self) -> bool:
        """Whether a request could be served now."""
        return not (self.draining or self.crippled) and any(pool.ready for pool in self._pools.values())

    def pool(self, model: str) -> Pool:
        """The pool of a model; ModelNotFound."""
        try:
            return self._pools[model]
        except KeyError:
            raise ModelNotFound(f"The model {model[:100]!r} does not exist.", param="model") from None

    # ---- life of the dispatcher

    async def start(self) -> None:
        """Begin to probe and keep accounts; returns once every engine was asked, or soon after."""
        for pool in self._pools.values():
            self._spawn(pool.run(lambda pool=pool: self._consider(pool)))  # type: ignore[misc]
        caretaker = Caretaker(self, self._clock, self._instrument, self._timeouts)
        self._spawn(caretaker.account())
        self._spawn(caretaker.sweep())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_PROBES_S):
                await asyncio.gather(*(pool.asked.wait() for pool in self._pools.values()))

    async def drain(self, timeout_s: float) -> bool:
        """Take no new jobs and wait for the present ones; whether all of them ended in time."""
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._idle.is_set()

    async def stop(self) -> None:
        """End what is left with an error and give everything back."""
        self.draining = True
        for stream in tuple(self._streams.values()):
            self._conclude(stream, Draining("The gateway is shutting down.", retry_after_s=1.0))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in self._wakeups.values():
            handle.cancel()
        for pool in self._pools.values():
            await pool.close()

    # ---- life of a job

    def submit(self, request: JobRequest) -> Stream:
        """Queue a job; it may start before this returns. Draining, NoEngineReady, QueueFull, QueueShareFull."""
        pool = self._open_for(request)
        if not pool.ready:
            raise NoEngineReady("No engine is ready for this model.", retry_after_s=2.0)
        pool.scheduler.add(job_spec(pool, request), self._clock.now())
        stream = self._enter(request)
        self._consider(pool)
        return stream

    def adopt(self, request: JobRequest, transcript: Transcript | None, epoch: int) -> Stream:
        """Go on with another gateway's job, once `unpark` says that its reader is here. As `submit` raises."""
        pool = self._open_for(request)
        said = 0 if transcript is None else transcript.tokens
        pool.scheduler.inherit(job_spec(pool, request), said, self._clock.now())
        stream = self._enter(request)
        inherit(stream, transcript, epoch)
        return stream

    def cancel(self, stream: Stream) -> None:
        """The client left. A stream that has ended is left as it is."""
        self.give_up(stream, "cancelled")

    def park(self, stream: Stream) -> None:
        """The reader is away: give engine and place in the queue up and keep what was said, where that is possible."""
        if stream.request.id in self._streams and not stream.parked:
            self._legs.park(self._pools[stream.request.model], stream, self._clock.now())

    def unpark(self, stream: Stream) -> None:
        """The reader is back: the job queues again and goes on. QueueFull, QueueShareFull."""
        job_id = stream.request.id
        if job_id not in self._streams or not stream.parked:
            return
        pool = self._pools[stream.request.model]
        pool.scheduler.unpark(job_id, self._clock.now())
        stream.parked = False
        self._consider(pool)

    def leg_over(self, stream: Stream, error: EngineError | None) -> None:
        """StreamOwner: an engine finished the job or broke; the job ends, or waits for another engine."""
        if stream.request.id not in self._streams:
            return
        pool = self._pools[stream.request.model]
        engine_id = stream.engine_id
        if error is None or engine_id is None:
            if engine_id is not None:
                pool.hears(engine_id)
            self._conclude(stream, error)
            return
        detail = str(error)
        self._instrument.leg_failed(pool.settings.model, engine_id, error.code, detail)
        if isinstance(error, EngineBusy):
            pool.busy(engine_id)
        elif isinstance(error, EngineFailed):
            pool.struck(engine_id, lambda: self._consider(pool))
        if goes_on(pool, stream, engine_id, error):
            observe(pool, stream, self._instrument, self._clock.now())
            self._legs.let_go(pool, stream, self._clock.now())
            # A full engine may have the job again, when it has room.
            pool.scheduler.leg_ended(
                stream.request.id, LegEnded(failed=not isinstance(error, EngineBusy)), self._clock.now()
            )
            self._consider(pool)
        else:
            self._conclude(stream, error)

    def drain_engine(self, pool: Pool, engine_id: str) -> int:
        """Give an engine no new work, and move what can go on elsewhere; how many streams move. EngineNotFound."""
        pool.drain(engine_id)
        if not pool.ready:
            return 0  # nobody would take them: they end where they are
        now = self._clock.now()
        mine = [each for each in self._streams.values() if each.request.model == pool.settings.model]
        here = [stream for stream in mine if stream.engine_id == engine_id]
        return sum(self._legs.pause(pool, stream, now, "drain") for stream in here)

    # ---- plans

    def _consider(self, pool: Pool) -> None:
        """Something happened: plan now if that is due, else when it is."""
        now = self._clock.now()
        at = pool.scheduler.plan_at
        if at is not None and at <= now:
            self._plan(pool)
        else:
            self._wake(pool, at, now)

    def _plan(self, pool: Pool) -> None:
        now = self._clock.now()
        pool.keep_to_lease()
        plan = pool.scheduler.plan(now)
        self._apply(pool, plan, now)
        self._wake(pool, plan.wake_at, now)

    def _apply(self, pool: Pool, plan: Plan, now: float) -> None:
        for reject in plan.reject:
            waited = QueueTimeout("The request waited in the queue for too long.", retry_after_s=1.0)
            self._leave(self._streams[reject.job_id], waited, outcome=None)
        for pause in plan.pause:
            if not self._legs.pause(pool, self._streams[pause.job_id], now, pause.reason):
                pool.scheduler.cannot_resume(pause.job_id, now)
        placed: tuple[Start | Resume, ...] = (*plan.start, *plan.resume)
        for place in placed:
            self._legs.begin(pool, self._streams[place.job_id], place.engine_id, now)

    def _wake(self, pool: Pool, wake_at: float | None, now: float) -> None:
        handle = self._wakeups.pop(pool.settings.model, None)
        if handle is not None:
            handle.cancel()
        if wake_at is not None and wake_at < math.inf:
            loop = asyncio.get_running_loop()
            delay = max(0.0, wake_at - now)
            self._wakeups[pool.settings.model] = loop.call_later(delay, self._plan, pool)

    # ---- ends

    def _conclude(self, stream: Stream, error: GatewayError | None, *, outcome: str | None = None) -> None:
        """Take the job out of the scheduler, whatever it was doing; its engine's room follows when it is free."""
        pool = self._pools[stream.request.model]
        job_id = stream.request.id
        observe(pool, stream, self._instrument, self._clock.now())
        qoe = pool.scheduler.remove(job_id, self._clock.now(), finished=error is None and outcome is None)
        stream.qoe = qoe if error is None else 0.0
        engine_id = stream.engine_id
        aborted = outcome is not None or error is not None
        if engine_id is not None:
            leg_end(pool, stream, self._instrument, self._clock.now())
        self._leave(stream, error, outcome=outcome)
        if engine_id is None:
            self._consider(pool)
        elif aborted:
            self._legs.free_later(pool, job_id)
        else:
            self._legs.free(pool, job_id)

    def _leave(self, stream: Stream, error: GatewayError | None, *, outcome: str | None) -> None:
        """Book the job, tell its client, forget it."""
        request = stream.request
        del self._streams[request.id]
        if not self._streams:
            self._idle.set()
        end = job_end(stream, error, outcome, self._clock.now())
        if stream.usage is not None:
            self._pools[request.model].ratio.learn(request.size, end.prompt_tokens)
        self._instrument.tokens(request.model, end.completion_tokens - stream.flushed)
        # Whom the engine failed before the first token, or never started, owes nothing.
        free = not stream.legs or (error is not None and not stream.produced)
        request.meter.release(0 if free else end.prompt_tokens + end.completion_tokens)
        self._instrument.job_ended(end)
        stream.finish(error)

    def place(self, stream: Stream) -> int | None:
        """How many jobs are before this one in the queue; None when it does not wait."""
        return self._pools[stream.request.model].scheduler.place_in_queue(stream.request.id)

    def standing(self, stream: Stream) -> Standing | None:
        """How a stream stands for its reader; None while it is parked, and when it has ended."""
        return self._pools[stream.request.model].scheduler.standing(stream.request.id, self._clock.now())

    # ---- for the caretaker

    @property
    def streams(self) -> Sequence[Stream]:
        """The jobs that have not ended, in order of arrival."""
        return tuple(self._streams.values())

    def give_up(self, stream: Stream, outcome: str) -> None:
        """End a job that nobody reads."""
        if stream.request.id in self._streams:
            stream.abandoned = True
            self._conclude(stream, None, outcome=outcome)

    def _open_for(self, request: JobRequest) -> Pool:
        if self.draining:
            raise Draining("The gateway is shutting down.", retry_after_s=1.0)
        return self.pool(request.model)

    def _enter(self, request: JobRequest) -> Stream:
        stream = self._streams[request.id] = Stream(request, self, self._clock)
        self._idle.clear()
        self._instrument.job_queued(request.model)
        return stream

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
