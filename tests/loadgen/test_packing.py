"""Packing a batch: greedy against the optimum."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.simulator.packing import Item, Packing, by_density, exact, greedy, take_in_order

ITEMS = st.lists(st.builds(Item, st.floats(0, 1), st.integers(1, 30)), max_size=9)


def best_by_trying(items: list[Item], batch: int, memory: int) -> float:
    """The largest gain over all subsets."""
    return max(
        sum(item.gain for item in chosen)
        for count in range(min(batch, len(items)) + 1)
        for chosen in combinations(items, count)
        if sum(item.length for item in chosen) <= memory
    )


def fits(packing: Packing, items: list[Item], batch: int, memory: int) -> bool:
    chosen = [items[index] for index in packing.chosen]
    return len(set(packing.chosen)) == len(chosen) <= batch and sum(item.length for item in chosen) <= memory


def test_greedy_goes_by_gain_for_each_token_and_stops() -> None:
    """The third does not fit: it ends there, or with `skip` the smaller one after it comes."""
    items = [Item(0.5, 10), Item(0.9, 10), Item(0.9, 30), Item(0.05, 5)]

    assert by_density(items) == [1, 0, 2, 3]
    assert greedy(items, 9, 40) == Packing((1, 0), 1.4)
    assert greedy(items, 9, 40, skip=True).chosen == (1, 0, 3)
    assert greedy(items, 1, 40) == Packing((1,), 0.9)
    assert take_in_order(items, [3, 2], 9, 40).chosen == (3, 2)


def test_ties_keep_their_order_and_nothing_fits_in_nothing() -> None:
    """Whoever came first."""
    items = [Item(0.0, 4), Item(0.0, 4), Item(0.0, 1)]

    assert greedy(items, 2, 8).chosen == (0, 1)
    assert greedy(items, 0, 8) == greedy(items, 2, 0) == greedy([], 2, 8) == exact([], 2, 8) == Packing((), 0.0)


@given(items=ITEMS, batch=st.integers(0, 6), memory=st.integers(0, 80))
def test_exact_is_the_best_there_is(items: list[Item], batch: int, memory: int) -> None:
    """As trying all subsets finds; what it names fits and has that gain."""
    packing = exact(items, batch, memory)

    assert packing.gain == pytest.approx(best_by_trying(items, batch, memory))
    assert fits(packing, items, batch, memory)
    assert sum(items[index].gain for index in packing.chosen) == pytest.approx(packing.gain)


@given(items=ITEMS, batch=st.integers(0, 6), memory=st.integers(0, 80), block=st.integers(2, 16))
def test_blocks_round_to_the_safe_side(items: list[Item], batch: int, memory: int, block: int) -> None:
    """Never more than fits, never more than the optimum."""
    packing = exact(items, batch, memory, block=block)

    assert fits(packing, items, batch, memory)
    assert packing.gain <= exact(items, batch, memory).gain + 1e-9


@settings(deadline=None)
@given(items=st.lists(st.builds(Item, st.floats(0, 1), st.integers(1, 8)), max_size=30), memory=st.integers(8, 120))
def test_greedy_misses_the_optimum_by_less_than_one_job(items: list[Item], memory: int) -> None:
    """Under memory alone: what it leaves out is worth less than the first job that did not fit."""
    taken, best = greedy(items, len(items), memory), exact(items, len(items), memory)
    left = [items[index].gain for index in by_density(items)[len(taken.chosen) :]]

    assert fits(taken, items, len(items), memory)
    assert best.gain - max(left, default=0.0) - 1e-9 <= taken.gain <= best.gain + 1e-9
