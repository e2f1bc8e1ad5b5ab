"""How an attack goes, once a second, on a terminal."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Final

from loadgen.connections import clock
from loadgen.records import JobRecord
from loadgen.sender import Sender

EVERY_S: Final = 1.0
RECENT: Final = 200
"""So many of the last jobs make the averages that are shown."""


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
        sys.stderr.write("\n")

    def _tick(self) -> None:
        sys.stderr.write(f"\r\x1b[K{lines(self._senders)}")
        sys.stderr.flush()
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tick)


def lines(senders: Mapping[str, Sender]) -> str:
    """All about one attack; of several, side by side, what differs."""
    first, *others = senders.values()
    if not others:
        return line(first)
    parts = (f"{name}: open {each.open}{_recent(each.outcome.records[-RECENT:])}" for name, each in senders.items())
    return "  |  ".join([f"{max(0.0, clock() - first.start):5.0f} s", *parts])


def line(sender: Sender) -> str:
    """Time, counts, and what the last jobs were like."""
    records = sender.outcome.records
    bad = sum(record.outcome in ("failed", "rejected") for record in records[-RECENT:])
    now_s, planned = max(0.0, clock() - sender.start), len(sender.attack.requests)
    text = f"{now_s:6.0f} s  sent {sender.sent}/{planned}  open {sender.open}"
    return f"{text}  done {len(records)}{_recent(records[-RECENT:])}  bad lately {bad}"


def _recent(records: list[JobRecord]) -> str:
    if not records:
        return ""
    ttft = sorted(r.first_token_s - r.arrived_s for r in records if r.first_token_s is not None)
    middle = f"  TTFT {ttft[len(ttft) // 2]:.2f} s" if ttft else ""
    return f"{middle}  QoE {sum(r.qoe for r in records) / len(records):.3f}"
