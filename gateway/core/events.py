"""What a scheduler is told and what it answers, besides jobs and plans."""

from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.plan import Reason


@dataclass(frozen=True, slots=True)
class LegEnded:
    """The engine holds nothing of the job any more. `failed`: the engine is at fault, so prefer another one."""

    failed: bool = False


@dataclass(frozen=True, slots=True)
class ReaderReport:
    """What a reader's browser says. `shown` in the pace's unit, None when it did not say; times in seconds."""

    visible: bool = True
    shown: float | None = None
    round_trip_s: float = 0.0
    jitter_s: float = 0.0  # 95th percentile


class Standing(NamedTuple):
    """How a job stands: QoE so far, seconds of text that lie ahead of its reader (0 for a program), and why.

    `reason` is that of its last move, or what it waits for; None while it waits for another engine.
    """

    qoe: float
    lead_s: float
    reason: Reason | None
