"""Histograms of times that take no more memory for a longer run, and merge exactly.

As in HdrHistogram, buckets grow with the value, so that each is known to within 1 %. They are kept sparsely: a run's
times fall into a few hundred. Counts are whole numbers, so that several processes' histograms add up to the one that
a single process would have made.
"""

import math
from collections import Counter
from typing import Final

GROWTH: Final = math.log1p(0.02)
"""A bucket is 2 % wide; its middle is within 1 % of everything in it."""

LOWEST_S: Final = 1e-6
HIGHEST_S: Final = 86_400.0


class Histogram:
    """Times in seconds. Below a microsecond counts as 0, above a day as a day."""

    __slots__ = ("counts", "squares", "sum")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.sum = 0.0
        self.squares = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """The same value, `times` times."""
        bucket = 0
        if seconds >= LOWEST_S:
            seconds = min(seconds, HIGHEST_S)
            bucket = 1 + int(math.log(seconds / LOWEST_S) / GROWTH)
            self.sum += seconds * times
            self.squares += seconds * seconds * times
        self.counts[bucket] += times

    def merge(self, other: "Histogram") -> None:
        """Add another one's counts to this one."""
        self.counts.update(other.counts)
        self.sum += other.sum
        self.squares += other.squares

    @property
    def count(self) -> int:
        return self.counts.total()

    @property
    def mean_s(self) -> float | None:
        return self.sum / self.count if self.count else None

    @property
    def deviation_s(self) -> float | None:
        """The standard deviation."""
        count = self.count
        return math.sqrt(max(0.0, self.squares / count - (self.sum / count) ** 2)) if count else None

    def percentile(self, rank: float) -> float | None:
        """Seconds, within 1 %; the smallest value that at least `rank` percent do not exceed. None of nothing."""
        wanted, seen = math.ceil(self.count * rank / 100), 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= max(1, wanted):
                return 0.0 if bucket == 0 else LOWEST_S * math.exp((bucket - 0.5) * GROWTH)
        return None
