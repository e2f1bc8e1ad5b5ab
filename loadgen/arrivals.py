"""Arrival times: a rate that changes over time, and gaps drawn by seed. Pure.

A `Curve` says how many requests per second are expected at every moment, in straight pieces: flat, ramp, cyclic burst,
on and off. A stream of gaps of mean 1 (constant, exponential or gamma) says how regular they are. An arrival comes
whenever the area under the curve has grown by the next gap, so that each kind of gap goes with each curve: exponential
gaps make the Poisson process of that rate.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

TINY_S: Final = 1e-9


class Piece(NamedTuple):
    """A stretch of `length_s` seconds over which the rate goes in a straight line, in requests per second."""

    length_s: float
    rate: float
    end_rate: float


Curve = Sequence[Piece]


def flat(rate: float, length_s: float) -> Curve:
    """The same rate throughout."""
    return (Piece(length_s, rate, rate),)


def ramp(rate: float, end_rate: float, length_s: float) -> Curve:
    """From one rate to another, in a straight line."""
    return (Piece(length_s, rate, end_rate),)


def on_off(rate: float, length_s: float, *, on_s: float, off_s: float) -> Curve:
    """`rate` for `on_s`, nothing for `off_s`, and so on; on comes first."""
    return _cycle((Piece(on_s, rate, rate), Piece(off_s, 0.0, 0.0)), length_s)


def cyclic_burst(mean_rate: float, length_s: float, *, period_s: float, share: float, intensity: float) -> Curve:
    """Andes v2's cycle: the first `share` of each period at `intensity` times the mean, the rest below it.

    The rest has the rate that keeps the mean. ValueError if that would be negative (share * intensity above 1).
    """
    if not 0 < share < 1 or not 0 <= share * intensity <= 1:
        raise ValueError("share is between 0 and 1, share * intensity at most 1")
    peak = mean_rate * intensity
    rest = (mean_rate - peak * share) / (1 - share)
    return _cycle((Piece(period_s * share, peak, peak), Piece(period_s * (1 - share), rest, rest)), length_s)


def _cycle(pieces: Sequence[Piece], length_s: float) -> Curve:
    """The pieces over and over, cut at `length_s`. ValueError if they take no time."""
    if sum(piece.length_s for piece in pieces) <= 0 or any(piece.length_s < 0 for piece in pieces):
        raise ValueError("a cycle takes time")
    curve: list[Piece] = []
    left = length_s
    while left > TINY_S:
        for piece in pieces:
            curve.append(piece._replace(length_s=min(piece.length_s, max(0.0, left))))
            left -= piece.length_s
    return curve


def constant_gaps(draw: random.Random) -> Iterator[float]:
    """All the same, after a random first one: clients do not begin in step."""
    yield draw.random()
    while True:
        yield 1.0


def poisson_gaps(draw: random.Random) -> Iterator[float]:
    """Exponential: arrivals that know nothing of each other."""
    while True:
        yield draw.expovariate(1.0)


def gamma_gaps(draw: random.Random, cv: float) -> Iterator[float]:
    """Mean 1 and standard deviation `cv`: above 1 is burstier than Poisson. ValueError unless it is positive."""
    if not cv > 0:
        raise ValueError("cv must be positive")
    shape = 1 / cv**2
    while True:
        yield draw.gammavariate(shape, 1 / shape)


def arrivals(curve: Curve, gaps: Iterator[float]) -> Iterator[float]:
    """Times in seconds from the curve's start, ascending. ValueError for a rate or length below 0."""
    if any(piece.length_s < 0 or piece.rate < 0 or piece.end_rate < 0 for piece in curve):
        raise ValueError("rates and lengths are not negative")
    begin, wanted = 0.0, next(gaps)
    for piece in curve:
        area = piece.length_s * (piece.rate + piece.end_rate) / 2
        while wanted < area:
            yield begin + _when(piece, wanted)
            wanted += next(gaps)
        wanted -= area
        begin += piece.length_s


def _when(piece: Piece, area: float) -> float:
    """Seconds into a piece at which the area under it has reached `area`."""
    slope = (piece.end_rate - piece.rate) / piece.length_s
    # The root of rate*t + slope*t^2/2 = area in the form that loses no digits when the slope is small.
    return 2 * area / (piece.rate + math.sqrt(max(0.0, piece.rate**2 + 2 * slope * area)))
