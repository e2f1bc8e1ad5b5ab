"""Prompts of a wanted length in tokens, for servers whose tokenizer is not known here.

The words are short frequent ones. How many tokens a server makes of them, and what its chat template adds, is asked of
the server itself beforehand (`Calibration`), through the `usage` of two short answers. Words are drawn by seed for each
request: equal prompts would be found in a prefix cache, and nobody's prefill would be measured.
"""

import random
from dataclasses import dataclass
from typing import Final

_TEXT: Final = (
    "the of and to in is it you that he was for on are with as they be at one have this from or had by but some what "
    "there we can out other were when how said an each she which do their time if will way about many then them would "
    "write so these long make thing two has look more day come my no who over water than first people may down side "
    "been now find"
)
WORDS: Final = tuple(_TEXT.split())
"""All of them one token, with the space before it, in the emulator's vocabulary."""

PROBES: Final = (20, 220)
"""How many words the two prompts of a calibration have."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """tokens = overhead + per_word * words, at one server."""

    overhead: float = 0.0
    per_word: float = 1.0
    measured: bool = False

    @classmethod
    def of(cls, tokens: tuple[int, int]) -> "Calibration":
        """From the prompt tokens that a server counted for prompts of `PROBES` words."""
        per_word = (tokens[1] - tokens[0]) / (PROBES[1] - PROBES[0])
        if per_word <= 0:
            return cls()
        return cls(tokens[0] - per_word * PROBES[0], per_word, measured=True)

    def words(self, tokens: int) -> int:
        """How many words make a prompt of so many tokens; at least one."""
        return max(1, round((tokens - self.overhead) / self.per_word))


def prompt(words: int, seed: str) -> str:
    """So many words; the same seed gives the same ones."""
    return " ".join(random.Random(seed).choices(WORDS, k=words))
