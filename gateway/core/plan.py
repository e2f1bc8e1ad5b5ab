"""What the scheduler answers: the work to do now and when to ask again.

Plans are frozen and compare with ==, so that a log of them can be replayed and two runs can be held against each
other.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a plan entry was made; shown in logs, metrics and to waiting readers."""

    ROOM = "room"  # its turn came and an engine had room; or it waits for that
    GAIN = "gain"  # its reader gains more by it than others lose
    FAIR = "fair"  # its tenant is behind the others
    LATE = "late"  # it has waited so long that it goes by age
    DUE = "due"  # its reader will soon have nothing left to read
    AHEAD = "ahead"  # its reader has enough to read for now
    AWAY = "away"  # its reader does not look
    SHARE = "share"  # its tenant is ahead of the others
    MEMORY = "memory"  # the engine's memory is full
    QUEUE_TIMEOUT = "queue_timeout"  # waited longer than the pool allows


@dataclass(frozen=True, slots=True)
class Start:
    """Begin the job's next leg on this engine."""

    job_id: str
    engine_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop the job's leg and keep its tokens."""

    job_id: str
    engine_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue a paused job from prompt + tokens on this engine."""

    job_id: str
    engine_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Reject:
    """Give the job up; it is already removed from the scheduler."""

    job_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one decision; `wake_at` is when to plan again if nothing happens before (s, None: never)."""

    start: tuple[Start, ...] = ()
    pause: tuple[Pause, ...] = ()
    resume: tuple[Resume, ...] = ()
    reject: tuple[Reject, ...] = ()
    wake_at: float | None = None

    def __bool__(self) -> bool:
        return bool(self.start or self.pause or self.resume or self.reject)
