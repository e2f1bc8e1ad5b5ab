"""What the runtime lets others watch: metrics and logs implement it, the runtime's own code stays free of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.engines.base import EngineState


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. Times in seconds, None where the point was never reached; `outcome` is "completed", "cancelled"
    or an error's code."""

    job_id: str
    request_id: str
    tenant: str
    model: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    queue_s: float | None
    ttft_s: float | None
    total_s: float
    legs: int


@dataclass(frozen=True, slots=True)
class Resumption:
    """What it cost to go on after a cut: never the tenant's, always somebody's.

    `level`: how exactly; `ttft_s`: from the request to its first new token, None when none came; `resent_tokens`: the
    prompt and answer that the engine had to know again; `cached_tokens`: those that it still knew, None where it does
    not tell.
    """

    engine_id: str
    level: str
    ttft_s: float | None
    resent_tokens: int
    cached_tokens: int | None


@dataclass(frozen=True, slots=True)
class ShareState:
    """How a pool stands among several gateways.

    `settled`: engines are given out; `lag_s`: since the shared store answered last; `held`: sequences that this gateway
    may run, by engine; `running`: those of every gateway as it said last; `demand`: what all together could use, over
    what there is.
    """

    gateway: str
    others: tuple[str, ...]
    settled: bool
    lag_s: float
    held: Mapping[str, int]
    running: Mapping[str, Mapping[str, int]]
    demand: float


class Instrument(Protocol):
    """Hooks; none may block or raise."""

    def job_queued(self, model: str) -> None:
        """A job was admitted to a pool's queue."""

    def tokens(self, model: str, count: int) -> None:
        """Engines produced so many tokens since the last call."""

    def job_ended(self, end: JobEnd) -> None:
        """A job left, however."""

    def leg_failed(self, model: str, engine_id: str, code: str, detail: str) -> None:
        """A run at an engine broke; the job may go on elsewhere. `detail` is for the log only."""

    def leg_paused(self, model: str, engine_id: str, reason: str) -> None:
        """A run at an engine was stopped by us and will go on; `reason` is the plan's, or "drain", or "away"."""

    def resumed(self, model: str, cost: Resumption) -> None:
        """A run that went on from where an earlier one was cut is over."""

    def engine_changed(self, model: str, engine_id: str, state: EngineState, detail: str) -> None:
        """An engine's health changed."""

    def pool_load(self, model: str, waiting: int, running: int, *, overloaded: bool) -> None:
        """The pool's present queue and legs, and whether its readers together read more than it can make."""

    def shared(self, model: str, state: ShareState) -> None:
        """How the pool stands among several gateways, twice a second."""


class Instruments:
    """Several listeners as one."""

    def __init__(self, *parts: Instrument) -> None:
        self._parts = parts

    def job_queued(self, model: str) -> None:
        for part in self._parts:
            part.job_queued(model)

    def tokens(self, model: str, count: int) -> None:
        for part in self._parts:
            part.tokens(model, count)

    def job_ended(self, end: JobEnd) -> None:
        for part in self._parts:
            part.job_ended(end)

    def leg_failed(self, model: str, engine_id: str, code: str, detail: str) -> None:
        for part in self._parts:
            part.leg_failed(model, engine_id, code, detail)

    def leg_paused(self, model: str, engine_id: str, reason: str) -> None:
        for part in self._parts:
            part.leg_paused(model, engine_id, reason)

    def resumed(self, model: str, cost: Resumption) -> None:
        for part in self._parts:
            part.resumed(model, cost)

    def engine_changed(self, model: str, engine_id: str, state: EngineState, detail: str) -> None:
        for part in self._parts:
            part.engine_changed(model, engine_id, state, detail)

    def pool_load(self, model: str, waiting: int, running: int, *, overloaded: bool) -> None:
        for part in self._parts:
            part.pool_load(model, waiting, running, overloaded=overloaded)

    def shared(self, model: str, state: ShareState) -> None:
        for part in self._parts:
            part.shared(model, state)
