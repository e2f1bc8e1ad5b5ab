"""Which jobs to run together: the most gain in one batch under the engine's memory.

Maximise sum(gain_i * x_i) subject to sum(x_i) <= B and sum(length_i * x_i) <= M, x_i in {0, 1} (Andes, arXiv
2404.16283, section 4): a knapsack with two limits. The policies take greedily, as `greedy` does. `exact` is dynamic
programming; only the simulator decides by it, to show what greed costs.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Item(NamedTuple):
    """A job that could run: what running it gains, and the memory that it needs (tokens, at least 1)."""

    gain: float
    length: int


class Packing(NamedTuple):
    """What to run: indices into the items, and their gain together."""

    chosen: tuple[int, ...]
    gain: float


def greedy(items: Sequence[Item], batch: int, memory: int, *, skip: bool = False) -> Packing:
    """By gain for each token of memory, ties in the order given, until one does not fit (Andes, Algorithm 1).

    With `skip`, one that does not fit is passed over and smaller ones after it may still come. What gains nothing
    still fills the batch; O(n log n).
    """
    return take_in_order(items, by_density(items), batch, memory, skip=skip)


def by_density(items: Sequence[Item]) -> list[int]:
    """Indices by gain for each token of memory, largest first, ties in the order given.

    The order holds for every B at which the gains are the same, so that it is worked out once.
    """
    return sorted(range(len(items)), key=lambda index: -items[index].gain / items[index].length)


def take_in_order(
    items: Sequence[Item], order: Iterable[int], batch: int, memory: int, *, skip: bool = False
) -> Packing:
    """The first of `order` that fit together; without `skip`, stops at the first that does not."""
    chosen: list[int] = []
    gain, free = 0.0, memory
    for index in order:
        if len(chosen) >= batch:
            break
        item = items[index]
        if item.length > free:
            if skip:
                continue
            break
        free -= item.length
        gain += item.gain
        chosen.append(index)
    return Packing(tuple(chosen), gain)


def exact(items: Sequence[Item], batch: int, memory: int, *, block: int = 1) -> Packing:
    """The best packing there is, indices ascending; O(n * B * M/block) time and memory.

    Memory is counted in blocks, an item's rounded up and the engine's down: what is chosen always fits, and is optimal
    for blocks of 1 or when all lengths are whole blocks.
    """
    rooms = memory // block
    batch = min(batch, len(items))
    # best[k, m]: the largest gain of at most k items in at most m blocks, of the items seen so far.
    best = np.zeros((batch + 1, rooms + 1))
    taken: list[NDArray[np.bool_]] = []
    for gain, length in items:
        need = -(-length // block)
        mine = np.zeros(best.shape, dtype=bool)
        if need <= rooms:
            with_it = best[:-1, : rooms + 1 - need] + gain
            mine[1:, need:] = with_it > best[1:, need:]
            np.maximum(best[1:, need:], with_it, out=best[1:, need:])
        taken.append(mine)
    return Packing(_traced(items, taken, batch, rooms, block), float(best[batch, rooms]))


def _traced(
    items: Sequence[Item], taken: Sequence[NDArray[np.bool_]], batch: int, rooms: int, block: int
) -> tuple[int, ...]:
    chosen = []
    for index in range(len(items) - 1, -1, -1):
        if taken[index][batch, rooms]:
            chosen.append(index)
            rooms -= -(-items[index].length // block)
            batch -= 1
    return tuple(reversed(chosen))
