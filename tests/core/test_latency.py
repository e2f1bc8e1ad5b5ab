"""The iteration model and its fit."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.latency import IterationModel, LatencyFit

TRUTH = IterationModel(0.020, 2e-4, 3e-7, 1e-4)
PRIOR = IterationModel(0.050, 1e-3, 0.0, 5e-4)

Load = tuple[int, int, int]


def loads(seed: int, count: int) -> list[Load]:
    """Batches as they come: sequences, their context, and now and then a prompt."""
    chance = Random(seed)
    made = []
    for _ in range(count):
        batch = chance.randint(1, 64)
        made.append((batch, batch * chance.randint(50, 1500), chance.choice([0, 0, 0, chance.randint(16, 2048)])))
    return made


def worst(fit: LatencyFit, truth: IterationModel) -> float:
    """Largest relative error of a predicted iteration over typical loads."""
    model = fit.model
    return max(abs(model.iteration_s(*load) / truth.iteration_s(*load) - 1) for load in loads(99, 100))


def test_the_model() -> None:
    """Its terms, and what follows from them."""
    assert TRUTH.iteration_s(10, 10_000, 100) == pytest.approx(0.020 + 0.002 + 0.003 + 0.010)
    assert TRUTH.speed(10, 10_000) == pytest.approx(40.0)
    assert TRUTH.prefill_rate == pytest.approx(10_000)
    assert TRUTH.prefill_s(500) == pytest.approx(0.05)
    nothing = IterationModel(0.0)
    assert (nothing.prefill_rate, nothing.speed(1, 1)) == (math.inf, math.inf)


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_coefficients_are_times(bad: float) -> None:
    """Finite and not negative."""
    with pytest.raises(ValueError, match="finite"):
        IterationModel(0.02, bad)


@given(limit=st.floats(0.001, 1.0), context=st.floats(0, 5000))
def test_the_largest_batch_keeps_the_limit(limit: float, context: float) -> None:
    """And one more would not."""
    batch = TRUTH.largest_batch(limit, context)

    assert batch == 0 or TRUTH.iteration_s(batch, batch * context) <= limit + 1e-9
    assert TRUTH.iteration_s(batch + 1, (batch + 1) * context) > limit - 1e-9


def test_a_batch_without_cost_has_no_limit_but_a_number() -> None:
    """1,000,000 sequences; none when even an empty iteration is too slow."""
    assert IterationModel(0.02).largest_batch(0.02, 1000) == 1_000_000
    assert IterationModel(0.02).largest_batch(0.01, 1000) == 0


def test_the_prior_holds_until_something_was_seen() -> None:
    """And what is not a time is not taken into account."""
    fit = LatencyFit(PRIOR)
    for seconds in (0.0, -1.0, math.inf, math.nan):
        fit.observe(seconds, 1, 100)

    assert fit.observations == 0
    assert fit.model.iteration_s(7, 700, 70) == pytest.approx(PRIOR.iteration_s(7, 700, 70))
    assert repr(fit).startswith("<LatencyFit 0 iterations, IterationModel(base_s=0.05")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), noise=st.floats(0, 0.1), every=st.sampled_from([1, 4, 16]))
def test_the_fit_finds_the_engine(seed: int, noise: float, every: int) -> None:
    """From a prior that is off by 2.5 to 5 times, through noise: iterations are predicted to a few per cent."""
    fit, chance = LatencyFit(PRIOR, every=every), Random(seed)
    for load in loads(seed, 3000):
        fit.observe(TRUTH.iteration_s(*load) * chance.uniform(1 - noise, 1 + noise), *load)

    assert worst(fit, TRUTH) < 0.02 + 2 * noise  # the tail of what chance does: usually a third of that
    assert fit.observations == 3000


def test_stalls_of_the_engine_move_it_little() -> None:
    """One iteration in fifty takes 5 s more: still within 15 %, where a plain mean would be off by five times."""
    fit, chance = LatencyFit(PRIOR), Random(3)
    for load in loads(3, 5000):
        fit.observe(TRUTH.iteration_s(*load) + (5.0 if chance.random() < 0.02 else 0.0), *load)

    assert worst(fit, TRUTH) < 0.15


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_lasting_change_is_followed(factor: float) -> None:
    """The engine becomes slower or faster for good: known again after some thousand iterations, a minute or two."""
    fit = LatencyFit(PRIOR)
    now = IterationModel(0.02 * factor, 2e-4 * factor, 3e-7 * factor, 1e-4 * factor)
    for load in loads(1, 5000):
        fit.observe(TRUTH.iteration_s(*load), *load)
    for load in loads(2, 4000):
        fit.observe(now.iteration_s(*load), *load)

    assert worst(fit, now) < 0.05


def test_what_does_not_vary_is_not_unlearned() -> None:
    """Hours at one load: other loads are still predicted when they come back."""
    fit, chance = LatencyFit(PRIOR), Random(5)
    for load in loads(4, 4000):
        fit.observe(TRUTH.iteration_s(*load), *load)
    for _ in range(100_000):
        fit.observe(TRUTH.iteration_s(8, 8000) * chance.uniform(0.97, 1.03), 8, 8000)

    assert worst(fit, TRUTH) < 0.25
    for load in loads(6, 2000):
        fit.observe(TRUTH.iteration_s(*load), *load)
    assert worst(fit, TRUTH) < 0.05


def test_what_little_is_seen_of_does_not_wander() -> None:
    """Half a prompt token an iteration, through noise of a tenth: what prefill costs stays near what was believed."""
    fit, chance = LatencyFit(PRIOR, memory=100, every=1), Random(2)
    batch, most = 20, 0.0
    for _ in range(4000):
        batch = max(1, min(60, batch + chance.choice((-1, 0, 1))))
        load = (batch, batch * chance.uniform(150, 250), chance.uniform(0.1, 0.9))
        fit.observe(TRUTH.iteration_s(*load) * chance.lognormvariate(0, 0.1), *load)
        most = max(most, fit.model.per_prefill_token_s)

    assert most < 1.5 * PRIOR.per_prefill_token_s


def test_an_engine_that_is_nearly_idle_for_hours() -> None:
    """One sequence or two, again and again: the terms cannot be told apart, and still every prediction holds.

    A recursive fit that carries the inverse predicted 1e78 s here.
    """
    fit, chance, truth = LatencyFit(PRIOR, memory=100, every=1), Random(1), IterationModel(0.0205, 1e-4, 1e-7, 1e-5)
    off = []
    for step in range(30_000):
        batch = chance.choice((1, 1, 1, 2))
        load = (batch, batch * chance.choice((700, 1000, 1000)), chance.choice((0, 0, 0, 50)))
        fit.observe(truth.iteration_s(*load) * chance.uniform(0.97, 1.03), *load)
        if step >= 1000:
            off.append(abs(fit.model.iteration_s(2, 2000) / truth.iteration_s(2, 2000) - 1))

    assert max(off) < 0.03


@given(seen=st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(0, 10**5), st.integers(0, 10**8)), max_size=80))
def test_whatever_is_seen_the_model_is_one(seen: list[tuple[float, int, int]]) -> None:
    """Coefficients stay finite and not negative."""
    fit = LatencyFit(PRIOR, every=1, memory=10)
    for seconds, batch, context in seen:
        fit.observe(seconds, batch, context)

    assert fit.model.iteration_s(1, 1, 1) >= 0


@pytest.mark.parametrize("bad", [{"memory": 10}, {"every": 0}, {"outlier": 0}])
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    """Before anything is learned from them."""
    with pytest.raises(ValueError, match="every"):
        LatencyFit(PRIOR, **bad)
