"""Quality of experience: how near the reading of an answer came to what its reader expects.

Definitions (Andes, arXiv 2404.16283: v2's area form, which equals v1's integral when the last token keeps its slot).
With D_i the delivery of token i, times since arrival, `ttft` and `rate` of the pace:

    read     C_1 = max(D_1, ttft), C_i = max(D_i, C_(i-1) + 1/rate), until E = C_n + 1/rate
    expected I_i = ttft + (i-1)/rate
    QoE      1 - S_delay/S_whole,  S_delay = sum(C_i - I_i),  S_whole = n*(E - ttft) - n^2/(2*rate)

which is the area under the reader's digestion curve over the area under the expected one, both up to E. Rules:

1. A delivery may hold any amount of the pace's unit (tokens, characters, seconds of media); its parts are read one
   after the other at `rate`. With a start buffer, reading begins when it is full, or with the stream's end.
2. Times are on the reader's clock, which stands still while the reader is away (hidden, disconnected, stopped by the
   user): what is delivered meanwhile counts at the instant of leaving.
3. An unfinished answer has no known length: up to H, QoE is the area read over rate*(H-ttft)^2/2. Who leaves has the
   QoE of what was due until then. Nothing delivered: 1 until ttft, then 0. Failed or rejected: 0.
4. Media below full quality: QoE times the mean value of the delivered seconds.

Known property of the measure itself: among finished answers it is not monotone in each single delivery. A late answer
scores higher if its last token comes later still, since everything before it counts as read for longer. It is monotone
at a fixed H, and in a delay of the whole answer.

`exact_qoe` computes this literally and is the reference for `QoeTracker` (tracker.py), tests and shared vectors.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.core.pace import Pace

INSTANT_S: Final = 1e-9
"""Nearer to `ttft` than this counts as not after it: what is due by then is too little to divide by."""

Away = Sequence[tuple[float, float]]
"""When the reader was away: (left, back) in seconds since arrival, ascending, apart; the last `back` may be inf."""


class Ending(StrEnum):
    """How a job ended, as its QoE sees it."""

    FINISHED = "finished"
    LEFT = "left"  # the reader gave up before the answer was complete
    FAILED = "failed"  # or rejected


class Delivery(NamedTuple):
    """`units` of the pace's unit were delivered `at_s` seconds after arrival; `quality` is the value of its rung."""

    at_s: float
    units: float = 1.0
    quality: float = 1.0


class Segment(NamedTuple):
    """A delivery on the reader's clock: its parts are read at the pace's rate from `read_from_s` on."""

    read_from_s: float
    units: float


def reader_time(at_s: float, away: Away = ()) -> float:
    """Seconds since arrival on the reader's clock."""
    return at_s - sum(min(back, at_s) - left for left, back in away if left < at_s)


def exact_qoe(
    pace: Pace,
    deliveries: Iterable[Delivery],
    ending: Ending = Ending.FINISHED,
    ended_at_s: float = 0.0,
    away: Away = (),
) -> float:
    """QoE of one job, in [0, 1]. Deliveries are in order of time; O(n).

    `ended_at_s` (seconds since arrival) matters for an answer that is empty or that its reader left.
    """
    if ending is Ending.FAILED:
        return 0.0
    ended = reader_time(ended_at_s, away)
    # Who gave up while away gets no more of what came after that, though on the reader's clock it is the same instant.
    last_s = ended_at_s if ending is Ending.LEFT else math.inf
    known = (d for d in deliveries if d.at_s <= last_s)
    arrived = [Delivery(reader_time(d.at_s, away), d.units, d.quality) for d in known]
    if ending is Ending.LEFT:
        return _until(pace, arrived, ended)
    if not any(d.units for d in arrived):
        return 1.0 if ended - pace.ttft_s <= INSTANT_S else 0.0
    segments = read_times(pace, arrived, complete=True)
    return _quality(arrived) * _finished(pace, segments)


def shown_times(pace: Pace, deliveries: Iterable[Delivery], away: Away = ()) -> list[Segment]:
    """When a finished answer is shown, on the reader's clock: as `read`, but from the first delivery on.

    The pacer starts at once and does not wait for `ttft`; a machine gets everything as it comes.
    """
    arrived = [Delivery(reader_time(d.at_s, away), d.units) for d in deliveries]
    if not pace.paced:
        return [Segment(d.at_s, d.units) for d in arrived]
    return _chain(pace, arrived, earliest_s=0.0, complete=True)


def read_times(pace: Pace, arrived: Sequence[Delivery], *, complete: bool) -> list[Segment]:
    """The recurrence of C over deliveries on the reader's clock; `complete` if no more will come."""
    return _chain(pace, arrived, earliest_s=pace.ttft_s, complete=complete)


def _chain(pace: Pace, arrived: Sequence[Delivery], *, earliest_s: float, complete: bool) -> list[Segment]:
    gathered, opened = 0.0, None
    for delivery in arrived:
        gathered += delivery.units
        if gathered >= pace.start_units:
            opened = delivery.at_s
            break
    if opened is None:
        if not complete or not arrived:
            return []
        opened = arrived[-1].at_s
    segments, free = [], max(earliest_s, opened)
    for delivery in arrived:
        begin = max(delivery.at_s, free)
        segments.append(Segment(begin, delivery.units))
        free = begin + delivery.units / pace.rate
    return segments


def _finished(pace: Pace, segments: list[Segment]) -> float:
    delay, before = 0.0, 0.0
    for begin, units in segments:
        # Every part of a delivery is late by the same time as its first.
        delay += units * (begin - (pace.ttft_s + before / pace.rate))
        before += units
    end = segments[-1].read_from_s + segments[-1].units / pace.rate
    whole = before * (end - pace.ttft_s) - before**2 / (2 * pace.rate)
    return min(1.0, max(0.0, 1 - delay / whole))


def _until(pace: Pace, arrived: list[Delivery], horizon_s: float) -> float:
    if horizon_s - pace.ttft_s <= INSTANT_S:
        return 1.0
    area = 0.0
    for begin, units in read_times(pace, arrived, complete=False):
        reading = min(max(0.0, horizon_s - begin), units / pace.rate)
        area += pace.rate * reading**2 / 2 + units * max(0.0, horizon_s - begin - units / pace.rate)
    return min(1.0, area / (pace.rate * (horizon_s - pace.ttft_s) ** 2 / 2)) * _quality(arrived)


def _quality(arrived: list[Delivery]) -> float:
    units = sum(d.units for d in arrived)
    return sum(d.units * d.quality for d in arrived) / units if units else 1.0
