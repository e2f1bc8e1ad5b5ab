"""The engines of one pool, and which of them a job goes to."""

from collections.abc import Iterator
from math import inf
from typing import Final

from gateway.core.capacity import GRAIN_S, EngineCapacity, EngineLoad, Fits
from gateway.core.job import Job
from gateway.core.latency import IterationModel

_MEMORY_S: Final = 10.0  # how far back the pool's speed is remembered


class Fleet:
    """Engines by id."""

    def __init__(self, prior: IterationModel, fits: Fits) -> None:
        self._prior = prior
        self._fits = fits
        self._loads: dict[str, EngineLoad] = {}
        self._measured_at = -inf

    def __repr__(self) -> str:
        return ", ".join(f"{load.id} {load.running} jobs {load.tokens} tokens" for load in self)

    def __iter__(self) -> Iterator[EngineLoad]:
        return iter(self._loads.values())

    def __len__(self) -> int:
        return len(self._loads)

    def __getitem__(self, engine_id: str) -> EngineLoad:
        return self._loads[engine_id]

    def find(self, engine_id: str) -> EngineLoad | None:
        """The engine, None when it has left."""
        return self._loads.get(engine_id)

    def set(self, engine_id: str, capacity: EngineCapacity | None) -> None:
        """An engine came or changed; None: it left (its legs must have ended, else ValueError)."""
        if capacity is None:
            if legs := self._loads[engine_id].running:
                raise ValueError(f"engine {engine_id} cannot leave with {legs} legs")
            del self._loads[engine_id]
        elif engine_id in self._loads:
            self._loads[engine_id].resize(capacity)
        else:
            self._loads[engine_id] = EngineLoad(engine_id, capacity, self._prior)

    def place(self, job: Job, need: int) -> EngineLoad | None:
        """An engine with room for so many tokens: where the job's prefix lies, else the least loaded; None: none now.

        An engine that has failed this job gets it again only when no other one is ready: a broken engine is always
        idle, and would use up the job's attempts while a good one is just full.
        """
        avoid, home = job.avoid, job.home
        best, rank = None, (True, inf, "")
        untried = False
        for name, load in self._loads.items():
            failed = name in avoid
            untried = untried or (load.capacity.ready and not failed)
            mine = (failed, -1.0 if name == home else load.share, name)
            if (best is None or mine < rank) and self._fits(load, job, need):
                best, rank = load, mine
        return None if rank[0] and untried else best

    def waits_for_another(self, job: Job, need: int) -> bool:
        """Whether an engine has room for the job and only its failure there keeps it away: others may go before it."""
        return any(self._fits(self._loads[name], job, need) for name in job.avoid if name in self._loads)

    def roomiest(self) -> EngineLoad | None:
        """The least loaded engine that takes work."""
        return min((load for load in self if load.capacity.ready), key=lambda load: load.share, default=None)

    def measure(self, now: float) -> None:
        """Learn every engine's speed from what it has produced."""
        if now - self._measured_at < GRAIN_S:
            return
        self._measured_at = now
        for load in self._loads.values():
            load.measure(now)


class Meter:
    """A rate per second, remembered exponentially over the last ten seconds or so."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._since: float | None = None
        self._rate: float | None = None

    def add(self, amount: float) -> None:
        self._sum += amount

    def read(self, now: float) -> float:
        """Per second; 0 before anything is known."""
        if self._since is None:
            self._since, self._sum = now, 0.0
        span = now - self._since
        if span >= 1.0 or (self._rate is None and span > 0 and self._sum):
            fresh = self._sum / span
            weight = min(1.0, span / _MEMORY_S)
            self._rate = fresh if self._rate is None else self._rate + weight * (fresh - self._rate)
            self._since, self._sum = now, 0.0
        return self._rate or 0.0
