"""The service gap: how far apart two tenants drift while both are waiting.

For every pair of tenants and every span in which both are backlogged throughout, the change of the difference of their
normalised service within the span; the largest of these is what a fair scheduler bounds (VTC, arXiv 2401.00588,
theorem 4.4). A difference d changes within a span by at most max(d) - min(d), so running extremes are enough, and
since the difference of (i, j) is minus that of (j, i), one matrix of running maxima holds both.
"""

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

POINTS: Final = 2048
"""The series keeps between half as many and this many points, however long the run."""


class Series:
    """(time, value) pairs of a run of any length; when there are too many, the larger of two neighbours stays."""

    __slots__ = ("_every", "_pending", "_seen", "points")

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._every = 1
        self._seen = 0
        self._pending = (0.0, 0.0)

    def add(self, at: float, value: float) -> None:
        """One more sample; times do not go back."""
        if self._seen == 0 or value > self._pending[1]:
            self._pending = (at, value)
        self._seen += 1
        if self._seen < self._every:
            return
        self.points.append(self._pending)
        self._seen = 0
        if len(self.points) >= POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [max(pair, key=lambda point: point[1]) for pair in pairs]
            self._every *= 2


class GapMeter:
    """Takes a sample of all tenants' service at every plan.

    Memory, and the time that a sample takes, grow with the square of the number of tenants that are backlogged at once;
    docs/benchmarks.md has the figures. A tenant that is away from two samples in a row was away all the time between.
    """

    __slots__ = ("_before", "_closed", "_drift", "_highest", "_names", "_present", "series")

    def __init__(self) -> None:
        self.series = Series()
        """Over time: the largest change of a difference since the span of its pair began."""
        self._names: list[str] = []
        self._present: frozenset[str] = frozenset()
        self._closed = 0.0
        self._before = self._highest = self._drift = np.zeros((0, 0))

    def sample(self, now: float, service: Mapping[str, float], backlogged: Collection[str]) -> None:
        """`service` is what each tenant got so far, divided by its weight; a backlogged one that is not in it got 0."""
        present = frozenset(backlogged)
        if present != self._present:
            self._regroup(present, service)
        got = np.array([service.get(name, 0.0) for name in self._names])
        np.subtract.outer(got, got, out=self._drift)
        self._drift -= self._before
        np.maximum(self._highest, self._drift, out=self._highest)
        self.series.add(now, float(self._drift.max(initial=0.0)))

    @property
    def largest(self) -> float:
        """The largest gap so far, in units of service."""
        return max(self._closed, float((self._highest + self._highest.T).max(initial=0.0)))

    def _regroup(self, present: frozenset[str], service: Mapping[str, float]) -> None:
        """Close the pairs of those who left, and open pairs for those who came."""
        self._closed = self.largest
        stayed = [row for row, name in enumerate(self._names) if name in present]
        known = len(stayed)
        self._names = [self._names[row] for row in stayed] + sorted(present - self._present)
        self._present = present
        got = np.array([service.get(name, 0.0) for name in self._names])
        before, highest = np.subtract.outer(got, got), np.zeros((len(got), len(got)))
        block = np.ix_(stayed, stayed)
        before[:known, :known] = self._before[block]
        highest[:known, :known] = self._highest[block]
        self._before, self._highest, self._drift = before, highest, np.empty_like(before)
