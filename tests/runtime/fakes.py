"""Stand-ins for everything around the runtime: engines, clients, limits, watchers."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.clock import Clock, SystemClock
from gateway.core.pace import MACHINE, Pace
from gateway.core.policies import POLICIES
from gateway.core.scheduler import Scheduler
from gateway.core.waiting_room import QueueLimits
from gateway.engines.base import (
    Endpoint,
    EngineFacts,
    EngineSettings,
    EngineState,
    LegRequest,
    LegSink,
    Resumability,
    ResumeLevel,
    Usage,
)
from gateway.errors import EngineFailed
from gateway.runtime.instrument import JobEnd, Resumption, ShareState
from gateway.runtime.pool import Pool, PoolSettings
from gateway.runtime.sizing import PromptSize
from gateway.runtime.stream import JobRequest

MODEL = "m"
_names = itertools.count()


class FakeLeg:
    """A leg that remembers what it was told; `sink` is where the test plays the engine."""

    def __init__(self, request: LegRequest, sink: LegSink) -> None:
        self.request = request
        self.sink = sink
        self.paused = False
        self.aborted = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True

    def token(self, text: bytes = b"x", tokens: int = 1) -> None:
        """The engine says something; a real leg is silent once it was aborted."""
        assert not self.aborted
        if self.request.transcript is not None:
            self.request.transcript.add_ids([1] * tokens, tokens)
        self.sink.events(b"data: " + text + b"\n\n", tokens)


class FakeEngine:
    """`gate` closed: connecting hangs. `failure`: it fails. `facts`: what a probe learns, or how it fails."""

    def __init__(self, name: str, **settings: Any) -> None:
        self.settings = EngineSettings(name, "http://engine", "fake", MODEL, **settings)
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.facts: EngineFacts | Exception = EngineFacts(models=(MODEL,))
        self.legs: list[FakeLeg] = []
        self.asked = 0
        self.resumability = Resumability(ResumeLevel.NO, "a fake")
        self.closed = False

    def can_resume(self, request: LegRequest) -> Resumability:
        return self.resumability

    async def start(self, request: LegRequest, sink: LegSink) -> FakeLeg:
        self.asked += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.legs.append(FakeLeg(request, sink))
        return self.legs[-1]

    async def probe(self) -> EngineFacts:
        if isinstance(self.facts, Exception):
            raise self.facts
        return self.facts

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
        if isinstance(self.facts, EngineFailed):
            raise self.facts
        return 7

    async def close(self) -> None:
        self.closed = True


@dataclass
class FakeMeter:
    """Running totals as they were told, and the last one."""

    settled: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)

    def settle(self, total_tokens: int) -> None:
        assert not self.released, "settled after the end"
        self.settled.append(total_tokens)

    def release(self, total_tokens: int) -> None:
        self.released.append(total_tokens)


@dataclass
class FakeOutlet:
    """A client's socket; `full` makes it say so."""

    written: list[bytes] = field(default_factory=list)
    full: bool = False

    def write(self, data: bytes) -> bool:
        self.written.append(data)
        return not self.full


@dataclass
class Watcher:
    """An instrument that remembers."""

    queued: int = 0
    produced: int = 0
    ended: list[JobEnd] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    states: list[tuple[str, EngineState]] = field(default_factory=list)
    paused: list[tuple[str, str]] = field(default_factory=list)
    costs: list[Resumption] = field(default_factory=list)
    share: ShareState | None = None

    def job_queued(self, model: str) -> None:
        self.queued += 1

    def tokens(self, model: str, count: int) -> None:
        self.produced += count

    def job_ended(self, end: JobEnd) -> None:
        self.ended.append(end)

    def leg_failed(self, model: str, engine_id: str, code: str, detail: str) -> None:
        self.failures.append((engine_id, code))

    def leg_paused(self, model: str, engine_id: str, reason: str) -> None:
        self.paused.append((engine_id, reason))

    def resumed(self, model: str, cost: Resumption) -> None:
        self.costs.append(cost)

    def engine_changed(self, model: str, engine_id: str, state: EngineState, detail: str) -> None:
        self.states.append((engine_id, state))

    def pool_load(self, model: str, waiting: int, running: int, *, overloaded: bool) -> None:
        """Not remembered."""

    def shared(self, model: str, state: ShareState) -> None:
        assert model
        self.share = state


def job_request(*, stream: bool = True, pace: Pace = MACHINE, meter: FakeMeter | None = None) -> JobRequest:
    """A job of ten prompt tokens with a name of its own."""
    name = f"job-{next(_names)}"
    return JobRequest(
        leg=LegRequest(name, Endpoint.CHAT, {}, stream=stream),
        request_id=f"req-{name}",
        tenant="t",
        weight=1.0,
        model=MODEL,
        size=PromptSize(40, 1),
        prompt_tokens=10,
        max_tokens=100,
        pace=pace,
        meter=meter or FakeMeter(),
    )


def make_pool(
    engines: list[FakeEngine],
    watcher: Watcher,
    *,
    clock: Clock | None = None,
    limits: QueueLimits | None = None,
    **settings: Any,
) -> Pool:
    """A first come, first served pool of these engines."""
    scheduler = Scheduler(POLICIES["fcfs"], limits or QueueLimits())
    said = PoolSettings(MODEL, "fcfs", probe_interval_s=0.01, **settings)
    return Pool(said, engines, scheduler, watcher, clock or SystemClock())


USAGE = Usage(prompt_tokens=12, completion_tokens=3)
