"""What the batch model knows of one sequence, and what it says of one iteration. Pure."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from gateway.emulator.blocks import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration: each sequence in `started` and `decoded` produced one token at its end.

    `started`: those whose prompt was completed (or recomputed after a preemption); `finished`: those, among both,
    that reached `max_tokens`; `preempted`: those that lost their place.
    """

    duration_s: float
    started: tuple[str, ...]
    decoded: tuple[str, ...]
    finished: tuple[str, ...]
    preempted: tuple[str, ...]


@dataclass(slots=True)
class Totals:
    """Counters since the model was made; prefix figures count tokens, not requests."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    max_waiting: int = 0


@dataclass(slots=True, eq=False)
class Sequence:
    """One sequence; `ids`, where given, is the history that the caller extends with every produced token.

    The lowest `priority` goes first where the engine goes by that. `cached`: prompt tokens that the prefix cache spared
    at the first admission, None while it has not been admitted.
    """

    seq_id: str
    prompt: int
    max_tokens: int
    ids: list[int] | None
    key: Hashable
    priority: int = 0
    cached: int | None = None
    computed: int = 0
    length: int = 0
    blocks: int = 0
    keys: list[Hashable] = field(default_factory=list)
    hashed: int = 0
    chain: Hashable = None
    base: int = 0
    decoding: bool = False

    @property
    def cacheable(self) -> bool:
        """Whether its blocks can be told from others'."""
        return self.ids is not None or self.key is not None

    def block_keys(self, chain: Hashable, start: int, stop: int) -> Iterator[Hashable]:
        """The keys of blocks start..stop-1, where `chain` is the key of the block before (None: there is none).

        With ids a key is a hash of all tokens so far and the salt; without, it is the given key and the position.
        """
        if self.ids is None:
            yield from ((self.key, block) for block in range(start, stop))
            return
        for block in range(start, stop):
            tokens = tuple(self.ids[block * BLOCK_TOKENS : (block + 1) * BLOCK_TOKENS])
            chain = hash((self.key if chain is None else chain, tokens))
            yield chain
