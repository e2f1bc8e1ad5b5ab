"""What fits an engine, and how much is set aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.capacity import BLOCK_TOKENS, EngineCapacity, EngineLoad, tokens_to_reserve


@pytest.mark.parametrize(
    ("capacity", "running", "held", "asked", "fits"),
    [
        (EngineCapacity(2), 1, 10_000, 10_000, True),  # memory unknown: only the number counts
        (EngineCapacity(2), 2, 0, 1, False),
        (EngineCapacity(2, ready=False), 0, 0, 1, False),
        (EngineCapacity(0), 0, 0, 1, False),
        (EngineCapacity(2, kv_tokens=1000), 1, 500, 400, True),  # exactly the watermark
        (EngineCapacity(2, kv_tokens=1000), 1, 500, 401, False),
        (EngineCapacity(2, kv_tokens=1000), 0, 0, 5000, True),  # alone on an idle engine
    ],
)
def test_what_fits(capacity: EngineCapacity, running: int, held: int, asked: int, fits: bool) -> None:
    """Places, memory up to the watermark, and the large job that is let run alone."""
    assert EngineLoad(capacity, running, held).fits(asked) is fits


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), max_size=20))
def test_what_was_taken_is_given_back(legs: list[tuple[int, int]]) -> None:
    """Any number of legs, each grown once: in the end nothing is held."""
    load = EngineLoad(EngineCapacity(100, kv_tokens=10_000))
    for taken, grown in legs:
        load.take(taken)
        load.grow(grown)
    assert (load.running, load.tokens) == (len(legs), sum(map(sum, legs)))
    assert load.share == max(load.running / 100, load.tokens / 10_000)
    for taken, grown in legs:
        load.free(taken + grown)

    assert (load.running, load.tokens, load.share) == (0, 0, 0.0)


@given(st.integers(1, 10_000), st.integers(0, 10_000), st.none() | st.integers(1, 10_000), st.integers(1, 10_000))
def test_what_is_set_aside(prompt: int, produced: int, limit: int | None, assumed: int) -> None:
    """The present context and a block at least; beyond that no more than the client's limit or the assumption."""
    context = prompt + produced
    reserved = tokens_to_reserve(context, prompt, limit, assumed)

    assert reserved >= context + BLOCK_TOKENS
    assert reserved <= max(context + BLOCK_TOKENS, prompt + min(limit or assumed, assumed))
