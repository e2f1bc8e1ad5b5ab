"""How much an engine can take, and how much of it is taken.

The gateway keeps an engine's own queue empty: it never has more jobs there than `max_running`, nor more tokens than
the watermark of its KV memory.
"""

from dataclasses import dataclass
from typing import Final

BLOCK_TOKENS: Final = 16
WATERMARK: Final = 0.9


@dataclass(frozen=True, slots=True)
class EngineCapacity:
    """An engine as the scheduler sees it.

    `max_running` in sequences; `kv_tokens` is the KV memory in tokens, None when nobody knows it; an engine that is
    not `ready` gets no new work (its running legs go on).
    """

    max_running: int
    kv_tokens: int | None = None
    ready: bool = True


@dataclass(slots=True)
class EngineLoad:
    """What runs on one engine: legs (a leg that is stopping still counts) and the tokens held for them."""

    capacity: EngineCapacity
    running: int = 0
    tokens: int = 0

    def fits(self, tokens: int) -> bool:
        """Whether one more leg with this many tokens has room.

        A job that is larger than the watermark of an idle engine still runs there, alone: refusing it for ever would
        starve it.
        """
        if not self.capacity.ready or self.running >= self.capacity.max_running:
            return False
        if self.capacity.kv_tokens is None or self.running == 0:
            return True
        return self.tokens + tokens <= WATERMARK * self.capacity.kv_tokens

    def take(self, tokens: int) -> None:
        self.running += 1
        self.tokens += tokens

    def grow(self, tokens: int) -> None:
        self.tokens += tokens

    def free(self, tokens: int) -> None:
        self.running -= 1
        self.tokens -= tokens

    @property
    def share(self) -> float:
        """How full the engine is, 0 (idle) to 1: the larger of its two measures."""
        by_jobs = self.running / max(1, self.capacity.max_running)
        by_tokens = self.tokens / self.capacity.kv_tokens if self.capacity.kv_tokens else 0.0
        return max(by_jobs, by_tokens)


def tokens_to_reserve(context_tokens: int, prompt_tokens: int, max_tokens: int | None, assumed_output: int) -> int:
    """Tokens to set aside when a leg starts.

    At least the present context and one block; at most what the job can reach. The answer's length is unknown, so
    `assumed_output` stands for it where the client's limit is larger or missing: an engine whose memory runs out in
    the middle would queue or preempt by itself.
    """
    output = assumed_output if max_tokens is None else min(max_tokens, assumed_output)
    return max(context_tokens + BLOCK_TOKENS, prompt_tokens + output)
