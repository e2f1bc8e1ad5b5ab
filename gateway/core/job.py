"""One generation as the scheduler sees it, and the legal moves of its life.

Rules of this file:

1. Everything that affects a job's state, and every legal transition, is in `TRANSITIONS`. An event that the table does
   not list for the present state raises `IllegalMove` and leaves the job as it was.
2. A *leg* is one run of the job at one engine. While a leg exists the engine's room is taken, also while the engine is
   still being told to stop: room is given back only when the leg has ended.
3. A job knows numbers, never text.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.core.bills import Bill
from gateway.core.pace import MACHINE, Pace
from gateway.core.plan import Reason
from gateway.core.tracker import QoeTracker


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"  # never produced a token, no leg
    RUNNING = "running"  # a leg was planned and has not ended
    STOPPING = "stopping"  # to be paused: the leg was told to stop and still holds its room
    PAUSED = "paused"  # has tokens, no leg
    PARKING = "parking"  # its reader is away; the leg was told to stop and still holds its room
    PARKED = "parked"  # its reader is away: no leg, and it waits for none
    LEAVING = "leaving"  # removed, but its leg still holds room
    ENDED = "ended"


class JobEvent(StrEnum):
    """What happens to a job."""

    PLACE = "place"  # the plan starts or resumes it
    PAUSE = "pause"  # the plan takes its place away
    KEEP = "keep"  # it cannot be paused after all: its leg was not stopped
    PARK = "park"  # its last reader left
    UNPARK_FRESH = "unpark_fresh"  # a reader is back; it has no token yet
    UNPARK = "unpark"  # a reader is back; it has tokens
    LEG_ENDED_FRESH = "leg_ended_fresh"  # its leg ended before any token
    LEG_ENDED = "leg_ended"  # its leg ended after at least one token
    REMOVE = "remove"  # finished, failed or cancelled


class IllegalMove(Exception):
    """An event that the present state does not allow: a bug in the caller, never a client's doing."""


TRANSITIONS: dict[JobState, dict[JobEvent, JobState]] = {
    JobState.QUEUED: {
        JobEvent.PLACE: JobState.RUNNING,
        JobEvent.PARK: JobState.PARKED,
        JobEvent.REMOVE: JobState.ENDED,
    },
    JobState.RUNNING: {
        JobEvent.PAUSE: JobState.STOPPING,
        JobEvent.PARK: JobState.PARKING,
        JobEvent.LEG_ENDED_FRESH: JobState.QUEUED,
        JobEvent.LEG_ENDED: JobState.PAUSED,
        JobEvent.REMOVE: JobState.LEAVING,
    },
    JobState.STOPPING: {
        JobEvent.KEEP: JobState.RUNNING,
        JobEvent.PARK: JobState.PARKING,
        JobEvent.LEG_ENDED_FRESH: JobState.QUEUED,
        JobEvent.LEG_ENDED: JobState.PAUSED,
        JobEvent.REMOVE: JobState.LEAVING,
    },
    JobState.PAUSED: {
        JobEvent.PLACE: JobState.RUNNING,
        JobEvent.PARK: JobState.PARKED,
        JobEvent.REMOVE: JobState.ENDED,
    },
    JobState.PARKING: {
        JobEvent.LEG_ENDED_FRESH: JobState.PARKED,
        JobEvent.LEG_ENDED: JobState.PARKED,
        JobEvent.UNPARK_FRESH: JobState.STOPPING,
        JobEvent.UNPARK: JobState.STOPPING,
        JobEvent.REMOVE: JobState.LEAVING,
    },
    JobState.PARKED: {
        JobEvent.UNPARK_FRESH: JobState.QUEUED,
        JobEvent.UNPARK: JobState.PAUSED,
        JobEvent.REMOVE: JobState.ENDED,
    },
    JobState.LEAVING: {
        JobEvent.LEG_ENDED_FRESH: JobState.ENDED,
        JobEvent.LEG_ENDED: JobState.ENDED,
    },
    JobState.ENDED: {},
}


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is known of a job when it arrives.

    `prompt_tokens` may be an estimate until the engine reports the truth; `max_tokens` is None when the client set no
    limit. `weight` is the tenant's share (2 gets twice the service of 1). A job that is not `resumable` is never
    paused, nor is one that turns out so later. `units_per_token`: how much of the pace's unit a token makes, as far as
    known. `known_output` (tokens) is for oracles: only a simulator knows it.
    """

    id: str
    tenant: str
    prompt_tokens: int
    max_tokens: int | None = None
    weight: float = 1.0
    pace: Pace = MACHINE
    resumable: bool = False
    units_per_token: float = 1.0
    known_output: int | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A job inside the scheduler: its spec, its state and its running totals (tokens, seconds).

    `home` is the engine that ran it last and may still hold its prefix; `leg_base` what it had produced when its
    present leg began; `wants` whether it counts as waiting for service; `resumable` whether it may still be paused;
    `network_s` what its reader's connection adds to any delay; `asked_at` when its present leg was planned, `heard_at`
    when it was last heard what the leg has made; `rate` its reader's, in tokens per second; `parked_at` when it was
    last parked, `parked_s` how long in all before that; `reason` why it was last started, paused or resumed, None while
    it waits for another cause.
    """

    spec: JobSpec
    arrived: float
    order: int
    state: JobState = JobState.QUEUED
    engine_id: str | None = None
    prompt_tokens: int = 0
    produced: int = 0
    reserved: int = 0
    avoid: set[str] = field(default_factory=set)
    tracker: QoeTracker = field(init=False)
    bill: Bill | None = None
    home: str | None = None
    leg_base: int = 0
    asked_at: float = 0.0
    heard_at: float = 0.0
    wants: bool = False
    resumable: bool = field(init=False)
    yielded: bool = False
    pauses: int = 0
    network_s: float = 0.0
    parked_at: float = 0.0
    parked_s: float = 0.0
    reason: Reason | None = None
    rate: float = field(init=False)
    paced: bool = field(init=False)

    def __post_init__(self) -> None:
        self.paced = self.spec.pace.paced
        self.resumable = self.spec.resumable
        self.tracker = QoeTracker(self.spec.pace, self.arrived)
        self.rate = self.spec.pace.rate / self.spec.units_per_token

    def move(self, event: JobEvent) -> None:
        """Apply one event of the table; IllegalMove if it has no row."""
        try:
            self.state = TRANSITIONS[self.state][event]
        except KeyError:
            raise IllegalMove(f"job {self.spec.id}: {event} while {self.state}") from None

    @property
    def parked(self) -> bool:
        """Whether it wants nothing until its reader is back."""
        return self.state in (JobState.PARKED, JobState.PARKING)

    def age(self, now: float) -> float:
        """Seconds since it arrived in which somebody read it or waited for it."""
        return now - self.arrived - self.parked_s

    @property
    def context_tokens(self) -> int:
        """Tokens that the engine holds for this job while it runs."""
        return self.prompt_tokens + self.produced

    @property
    def fresh(self) -> bool:
        """Whether it has produced nothing yet."""
        return not self.produced
