"""What a job costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.costs import LLAMA2_7B_A10G, WEIGHTED_TOKENS, CostFunction, Profiled, WeightedTokens, charged_input

COSTS = st.sampled_from([WEIGHTED_TOKENS, LLAMA2_7B_A10G, WeightedTokens(0.0, 1.0)])
TOKENS = st.integers(0, 100_000)


def test_an_output_token_weighs_two_input_tokens() -> None:
    """The default; and the paper's profile with all its terms."""
    assert WEIGHTED_TOKENS(100, 50) == 200
    assert LLAMA2_7B_A10G(100, 50) == pytest.approx(11.46 + 210 + 50 + 200 + 80)


@given(cost=COSTS, x=TOKENS, y=TOKENS, dx=TOKENS, dy=TOKENS)
def test_a_cost_never_falls(cost: CostFunction, x: int, y: int, dx: int, dy: int) -> None:
    """In either argument: what counters rely on."""
    assert cost(x + dx, y + dy) >= cost(x, y) >= 0


def test_negative_costs_are_refused() -> None:
    """Nobody is paid for work."""
    with pytest.raises(ValueError, match="weights"):
        WeightedTokens(output_weight=-1)
    with pytest.raises(ValueError, match="coefficients"):
        Profiled(0, 1, 1, -0.1, 0)


@pytest.mark.parametrize(
    ("cached", "price", "charged"),
    [(0, 0.0, 100), (60, 0.0, 40), (60, 0.1, 46), (60, 1.0, 100), (500, 0.0, 0), (-5, 0.0, 100)],
)
def test_cached_tokens_are_discounted(cached: int, price: float, charged: float) -> None:
    """Of a prompt of 100 tokens."""
    assert charged_input(100, cached, price) == pytest.approx(charged)
