"""How an attack goes, once a second, on a terminal."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.connections import clock
from loadgen.records import JobRecord
from loadgen.sender import Sender

EVERY_S: Final = 1.0
RECENT: Final = 200
"""So many of the last jobs make the averages that are shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an attack, or one process's part of it, stands: requests planned, sent, and open, and jobs that have ended.

    `recent` are the last of them, at most `RECENT`.
    """

    planned: int = 0
    sent: int = 0
    open: int = 0
    done: int = 0
    recent: Sequence[JobRecord] = ()

    @classmethod
    def of(cls, sender: Sender) -> "Standing":
        """At this moment."""
        records = sender.outcome.records
        return cls(len(sender.attack.requests), sender.sent, sender.open, len(records), records[-RECENT:])

    def plus(self, other: "Standing") -> "Standing":
        """Both parts together."""
        recent = sorted([*self.recent, *other.recent], key=lambda record: record.ended_s or 0.0)
        return Standing(
            self.planned + other.planned,
            self.sent + other.sent,
            self.open + other.open,
            self.done + other.done,
            recent[-RECENT:],
        )


class Progress:
    """Writes one line on standard error over and over, while it is entered: of one attack, or of several by name."""

    def __init__(self, senders: Mapping[str, Sender]) -> None:
        self._senders = senders
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Progress":
        self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        show(f"{lines(self._senders)}\n")

    def _tick(self) -> None:
        show(lines(self._senders))
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)


def show(text: str) -> None:
    """In place of the line before."""
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def lines(senders: Mapping[str, Sender]) -> str:
    """All about one attack; of several, side by side, what differs."""
    first, *others = senders.values()
    now_s = clock() - first.start
    if not others:
        return line(now_s, Standing.of(first))
    parts = (f"{name}: open {each.open}{_recent(each.outcome.records[-RECENT:])}" for name, each in senders.items())
    return "  |  ".join([f"{max(0.0, now_s):5.0f} s", *parts])


def line(now_s: float, standing: Standing) -> str:
    """Time since the start, counts, and what the last jobs were like."""
    recent = standing.recent
    bad = sum(record.outcome in ("failed", "rejected") for record in recent)
    text = f"{max(0.0, now_s):6.0f} s  sent {standing.sent}/{standing.planned}  open {standing.open}"
    return f"{text}  done {standing.done}{_recent(recent)}  bad lately {bad}"


def _recent(records: Sequence[JobRecord]) -> str:
    if not records:
        return ""
    ttft = sorted(r.first_token_s - r.arrived_s for r in records if r.first_token_s is not None)
    middle = f"  TTFT {ttft[len(ttft) // 2]:.2f} s" if ttft else ""
    return f"{middle}  QoE {sum(r.qoe for r in records) / len(records):.3f}"
