"""How a simulation is set up, and what comes of it."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.core.capacity import EngineCapacity
from gateway.core.latency import IterationModel
from gateway.core.leases import Holder
from gateway.core.plan import Plan
from gateway.core.policies import PolicyRule
from gateway.core.scheduler import Scheduler
from gateway.core.shares import Part
from gateway.core.tuning import Tuning
from gateway.core.waiting_room import QueueLimits
from gateway.emulator.profiles import Profile
from loadgen.gaps import GapMeter
from loadgen.records import JobRecord
from loadgen.simulator.engine import Leg
from loadgen.simulator.job import SimJob

NO_QUEUE_LIMITS: Final = QueueLimits(max_jobs=1 << 60, max_jobs_per_tenant=1 << 60, timeout_s=float("inf"))
INPUT_PRICE: Final = 1.0
OUTPUT_PRICE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Setup:
    """How a workload is served: the engines, the rule, and what the gateways are like.

    `accounts_s`: a gateway where jobs wait looks no more often at what its legs have made (0: at every plan).
    `gap_every_s`: the gap is sampled no more often (0: at every plan, before and after it).
    """

    engines: tuple[Profile, ...]
    rule: PolicyRule
    tuning: Tuning
    limits: QueueLimits = NO_QUEUE_LIMITS
    gateways: int = 1
    staleness_s: float = 0.05
    lease_s: float = 3.0
    accounts_s: float = 0.0
    gap_every_s: float = 0.0


@dataclass(slots=True, eq=False)
class Gateway:
    """One gateway: its scheduler, its leases and what it was given of each engine, its legs by job, for when it has
    planned to plan, when it last looked at its legs, and who was backlogged when it last planned."""

    number: int
    scheduler: Scheduler
    holder: Holder
    next_plan: float | None = None
    legs: dict[str, Leg] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    settled_at: float = float("-inf")
    backlogged: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, number: int, setup: Setup) -> "Gateway":
        """The gateway of that number, from 0."""
        scheduler = Scheduler(setup.rule, setup.limits, setup.tuning)
        return cls(number, scheduler, Holder(f"gateway-{number}", setup.lease_s))


@dataclass(slots=True, eq=False)
class Run:
    """What came of a simulation; `gap` and `plan_ms` are sampled at every plan, `gap` before and after it."""

    jobs: list[SimJob] = field(default_factory=list)
    gap: GapMeter = field(default_factory=GapMeter)
    plan_ms: "array[float]" = field(default_factory=lambda: array("d"))
    plans: list[tuple[float, Plan]] = field(default_factory=list)
    engine_s: float = 0.0
    ended_s: float = 0.0
    _throughout: set[str] | None = None
    _sampled_at: float = float("-inf")

    def sample_gap(self, now: float, served: Mapping[str, float], gateways: Iterable[Gateway], every_s: float) -> None:
        """What each client got so far, and who waits at any gateway; who did not all the time since the last sample
        counts as one who does not."""
        backlogged = set[str]().union(*(gateway.backlogged for gateway in gateways))
        self._throughout = backlogged if self._throughout is None else self._throughout & backlogged
        if now - self._sampled_at >= every_s:
            self.gap.sample(now, served, self._throughout)
            self._sampled_at, self._throughout = now, None

    def records(self) -> list[JobRecord]:
        """One row per job."""
        return [job.record() for job in self.jobs]


def capacity_of(profile: Profile, *, ready: bool) -> EngineCapacity:
    """The whole engine."""
    model = IterationModel(profile.a_s, profile.b_s, profile.c_s, 1 / profile.prefill_tokens_per_s)
    return EngineCapacity(profile.max_num_seqs, profile.kv_tokens, ready, model)
