"""Histograms: within 1 %, bounded, and merged exactly."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.histogram import Histogram

TIMES = st.lists(st.floats(1e-6, 5e4), min_size=1, max_size=200)


def filled(times: list[float]) -> Histogram:
    histogram = Histogram()
    for each in times:
        histogram.add(each)
    return histogram


@given(TIMES, st.floats(0, 100))
def test_a_percentile_is_within_one_percent(times: list[float], rank: float) -> None:
    """Of the value at that rank."""
    exact = sorted(times)[max(1, math.ceil(len(times) * rank / 100)) - 1]

    assert filled(times).percentile(rank) == pytest.approx(exact, rel=0.0101)


@given(TIMES, TIMES)
def test_merging_is_exact(one: list[float], other: list[float]) -> None:
    """The same counts as if everything had gone into one."""
    merged = filled(one)
    merged.merge(filled(other))
    whole = filled(one + other)

    assert merged.counts == whole.counts
    assert merged.sum == pytest.approx(whole.sum)


def test_mean_and_deviation() -> None:
    """Exact, not by buckets; zeros count."""
    times = [0.0, 0.0, 0.1, 0.3]
    histogram = filled(times)

    assert histogram.mean_s == pytest.approx(np.mean(times))
    assert histogram.deviation_s == pytest.approx(np.std(times))
    assert histogram.percentile(50) == 0.0


def test_memory_is_bounded() -> None:
    """From a microsecond to a day there are fewer than 1,300 buckets."""
    histogram = filled([10 ** (k / 5000) for k in range(-40_000, 40_000)])

    assert len(histogram.counts) < 1300
    assert histogram.percentile(100) == pytest.approx(86_400, rel=0.01)


def test_nothing_is_unknown() -> None:
    """Not zero."""
    empty = Histogram()

    assert (empty.mean_s, empty.deviation_s, empty.percentile(50)) == (None, None, None)
