"""KV blocks: a pool, and in it the prefix cache.

A block is in use, or free and empty, or free and still holding what a known prefix left in it ("idle"). Empty blocks
are handed out first, then the idle one that was let go longest ago. A full block is known by a key that stands for
everything up to its end; whoever comes with the same key takes the block again instead of computing it. Pure.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable

BLOCK_TOKENS = 16


def blocks_for(tokens: int) -> int:
    """How many blocks so many tokens need."""
    return -(-tokens // BLOCK_TOKENS)


class BlockPool:
    """Counts blocks; only those with a key have an identity."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._empty = total
        self._shared: dict[Hashable, int] = {}
        self._idle: OrderedDict[Hashable, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<BlockPool {self.used}/{self.total} used, {len(self._idle)} idle>"

    @property
    def used(self) -> int:
        return self.total - self._empty - len(self._idle)

    @property
    def available(self) -> int:
        return self._empty + len(self._idle)

    def known(self, key: Hashable) -> bool:
        """Whether a block with this key is there, in use or idle."""
        return key in self._shared or key in self._idle

    def idle(self, keys: Iterable[Hashable]) -> int:
        """How many of these known blocks are free: taking them makes so many fewer available."""
        return sum(key in self._idle for key in keys)

    def take(self, count: int) -> bool:
        """Take empty blocks, evicting idle ones; False, and nothing taken, when there are too few."""
        if count > self.available:
            return False
        evicted = count - self._empty
        if evicted > 0:
            for _ in range(evicted):
                self._idle.popitem(last=False)
            self._empty += evicted
        self._empty -= count
        return True

    def share(self, keys: Iterable[Hashable]) -> None:
        """Take known blocks."""
        for key in keys:
            if key in self._idle:
                del self._idle[key]
                self._shared[key] = 1
            else:
                self._shared[key] += 1

    def name(self, key: Hashable) -> bool:
        """Give a key to a block that the caller holds; False when another block already has it."""
        if key in self._shared or key in self._idle:
            return False
        self._shared[key] = 1
        return True

    def release(self, keys: list[Hashable], nameless: int) -> None:
        """Give back blocks: the keyed ones stay findable, the end of a prefix being evicted before its beginning."""
        self._empty += nameless
        for key in reversed(keys):
            left = self._shared[key] - 1
            if left:
                self._shared[key] = left
            else:
                del self._shared[key]
                self._idle[key] = None
