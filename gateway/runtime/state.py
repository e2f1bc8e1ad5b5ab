"""What a stream and its reader tell each other of how they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.events import Standing
from gateway.runtime.stream import Stream


@dataclass(frozen=True, slots=True)
class ReaderReport:
    """What a reader tells of itself.

    `shown` in code points of visible text, `buffered` likewise; `rate` in code points a second; times in seconds.
    """

    shown: int | None = None
    buffered: int | None = None
    visible: bool | None = None
    rate: float | None = None
    rtt_s: float | None = None
    jitter_s: float | None = None

    def measure(self, stream: Stream) -> None:
        """Let the stream know what its tokens hold for this reader, where all that takes was told."""
        if self.rate is not None and self.shown is not None and self.buffered is not None:
            stream.reads(self.shown + self.buffered, self.rate)


def describe(stream: Stream, place: int | None, standing: Standing | None) -> Mapping[str, Any]:
    """The `andante` event's fields.

    `state`: queued, running, paused, parked or ended; `place`: jobs before it in the queue; `produced`, `delivered`:
    tokens; `lead_s`: seconds by which a paced reader is ahead, None without a pace; `qoe`: until now, of a whole answer
    once it has ended, None while it is parked; `reason`: a code of `core.plan.Reason`; `level`: how exactly it has gone
    on, or would; `resumed`: how often it has.
    """
    paced = stream.request.pace.paced
    qoe = stream.qoe if standing is None else standing.qoe
    return {
        "state": _state(stream),
        "place": place,
        "reason": None if standing is None else standing.reason,
        "produced": stream.produced,
        "delivered": stream.delivered,
        "lead_s": round(standing.lead_s, 1) if standing is not None and paced else None,
        "qoe": None if qoe is None else round(qoe, 3),
        "level": stream.course.level.value,
        "resumed": stream.course.resumptions,
    }


def _state(stream: Stream) -> str:
    if stream.end.done():
        return "ended"
    if stream.parked:
        return "parked"
    if stream.engine_id is not None:
        return "running"
    return "paused" if stream.produced else "queued"
