"""The gap meter against the definition, pair by pair and span by span."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.gaps import POINTS, GapMeter, Series

TENANTS = "abcd"
GOT = st.fixed_dictionaries(dict.fromkeys(TENANTS, st.integers(0, 50)))
STEPS = st.lists(st.tuples(GOT, st.frozensets(st.sampled_from(TENANTS))), max_size=25)


def brute(samples: list[tuple[dict[str, float], frozenset[str]]]) -> float:
    """Every pair, every two samples between which both were backlogged throughout."""
    largest = 0.0
    for f, g in itertools.combinations(TENANTS, 2):
        for first, last in itertools.combinations(range(len(samples)), 2):
            if all({f, g} <= present for _, present in samples[first : last + 1]):
                before, after = samples[first][0], samples[last][0]
                largest = max(largest, abs((after[f] - after[g]) - (before[f] - before[g])))
    return largest


@given(STEPS)
def test_the_largest_gap_is_that_of_the_definition(steps: list[tuple[dict[str, int], frozenset[str]]]) -> None:
    """Service only grows; who is backlogged changes at will."""
    meter, samples = GapMeter(), []
    got = dict.fromkeys(TENANTS, 0.0)
    for at, (more, present) in enumerate(steps):
        got = {name: got[name] + more[name] for name in got}
        samples.append((got, present))
        meter.sample(float(at), got, present)

    assert meter.largest == pytest.approx(brute(samples))


def test_a_pause_between_two_spans_forgives() -> None:
    """60 apart within a span, then one tenant has nothing waiting, then 10 apart: the gap is 60, and now it is 10."""
    meter = GapMeter()
    meter.sample(0, {"a": 100, "b": 0}, ["a", "b"])
    meter.sample(1, {"a": 160, "b": 0}, ["a", "b"])
    meter.sample(2, {"a": 900, "b": 0}, ["a"])
    meter.sample(3, {"a": 900, "b": 0}, ["a", "b"])
    meter.sample(4, {"a": 910, "b": 0}, ["b", "a"])

    assert meter.largest == 60
    assert meter.series.points == [(0, 0), (1, 60), (2, 0), (3, 0), (4, 10)]


def test_a_swing_counts_whole() -> None:
    """30 ahead, then 20 behind: the difference changed by 50 within the span."""
    meter = GapMeter()
    for at, got in enumerate(({"a": 0, "b": 0}, {"a": 30, "b": 0}, {"a": 30, "b": 50})):
        meter.sample(at, got, "ab")

    assert meter.largest == 50


def test_one_tenant_or_none_has_no_gap() -> None:
    """There is nobody to compare with; a tenant without an entry got nothing."""
    meter = GapMeter()
    meter.sample(0, {}, [])
    meter.sample(1, {"a": 5}, ["a"])
    meter.sample(2, {"a": 5}, ["a", "new"])

    assert meter.largest == 0


def test_a_series_of_any_length_keeps_its_peak() -> None:
    """Bounded, in order of time, and no peak is lost."""
    series = Series()
    for at in range(100_000):
        series.add(at, 1000.0 if at == 12_345 else at % 7)

    assert len(series.points) <= POINTS
    assert (12_345, 1000.0) in series.points
    assert [at for at, _ in series.points] == sorted(at for at, _ in series.points)
