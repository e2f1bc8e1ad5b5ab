"""Arrival times have the rate, the shape and the regularity that they are asked for."""

import itertools
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.arrivals import (
    Piece,
    arrivals,
    constant_gaps,
    cyclic_burst,
    flat,
    gamma_gaps,
    on_off,
    poisson_gaps,
    ramp,
)


def gaps_of(times: list[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(times)]


def test_constant_gaps_on_a_flat_curve() -> None:
    """Exactly the rate, after a random phase."""
    times = list(arrivals(flat(2.0, 10.0), constant_gaps(random.Random(1))))

    assert len(times) == 20
    assert 0 <= times[0] < 0.5
    assert gaps_of(times) == pytest.approx([0.5] * 19)


@pytest.mark.parametrize(("cv", "tolerance"), [(1.0, 0.05), (3.0, 0.3)])
def test_poisson_and_gamma_gaps_have_their_spread(cv: float, tolerance: float) -> None:
    """Mean 1/rate; standard deviation over mean as asked (Poisson: 1)."""
    draw = random.Random(2)
    source = poisson_gaps(draw) if cv == 1.0 else gamma_gaps(draw, cv)
    gaps = gaps_of(list(arrivals(flat(5.0, 4000.0), source)))

    assert statistics.fmean(gaps) == pytest.approx(0.2, rel=0.1)
    assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(cv, abs=tolerance)


def test_a_ramp_has_more_at_its_end() -> None:
    """From 12 to 120 a minute over ten minutes: 660 in all, 5 minutes in at the mean of both."""
    times = list(arrivals(ramp(0.2, 2.0, 600.0), constant_gaps(random.Random(3))))
    middle = [t for t in times if 290 <= t < 310]

    assert len(times) == 660
    assert len(middle) / 20 == pytest.approx(1.1, abs=0.1)


def test_off_means_none() -> None:
    """On comes first; the last cycle is cut where the time ends."""
    times = list(arrivals(on_off(2.0, 150.0, on_s=60.0, off_s=60.0), constant_gaps(random.Random(4))))

    assert len(times) == 180
    assert all(t < 60 or 120 <= t < 150 for t in times)


def test_a_burst_keeps_the_mean() -> None:
    """The paper's default: 35 % of 1200 s at twice the mean, the rest at 0.46 of it."""
    curve = cyclic_burst(3.0, 2400.0, period_s=1200.0, share=0.35, intensity=2.0)
    times = list(arrivals(curve, constant_gaps(random.Random(5))))
    burst = [t for t in times if t % 1200 < 420]

    assert len(times) == pytest.approx(7200, abs=1)
    assert len(burst) / 840 == pytest.approx(6.0, rel=0.01)
    assert (len(times) - len(burst)) / 1560 == pytest.approx(0.4615 * 3.0, rel=0.01)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=6),
    st.integers(0, 1000),
)
def test_arrivals_follow_any_curve(parts: list[tuple[float, float, float]], seed: int) -> None:
    """In order, inside the curve's time, and as many as the area under it (constant gaps: to within one)."""
    curve = [Piece(*part) for part in parts]
    times = list(arrivals(curve, constant_gaps(random.Random(seed))))
    area = sum(p.length_s * (p.rate + p.end_rate) / 2 for p in curve)

    assert abs(len(times) - area) <= 1 + 1e-6
    assert times == sorted(times)
    assert all(0 <= t <= sum(p.length_s for p in curve) + 1e-6 for t in times)


def test_the_same_seed_gives_the_same_times() -> None:
    """And another seed other ones."""
    first, again, other = (list(arrivals(flat(3.0, 20.0), poisson_gaps(random.Random(seed)))) for seed in (7, 7, 8))

    assert first == again != other


def test_what_cannot_be_is_refused() -> None:
    """A burst that takes more than there is, a cycle without length, rates below 0, no spread."""
    with pytest.raises(ValueError, match="at most 1"):
        cyclic_burst(1.0, 60.0, period_s=60.0, share=0.5, intensity=2.5)
    with pytest.raises(ValueError, match="takes time"):
        on_off(1.0, 60.0, on_s=0.0, off_s=0.0)
    with pytest.raises(ValueError, match="not negative"):
        next(arrivals(flat(-1.0, 60.0), constant_gaps(random.Random(0))))
    with pytest.raises(ValueError, match="cv"):
        next(gamma_gaps(random.Random(0), 0.0))
