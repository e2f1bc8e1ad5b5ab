"""Stop strings, matched here on a stream's whole text, so that one that straddles a cut is found.

The rules are vLLM's (its incremental detokenizer): nothing is matched before more than `min_tokens` tokens are there,
the match that begins first wins, and the last characters are withheld, since they may be the beginning of one.
"""

from collections.abc import Sequence
from typing import Any


class StopMatcher:
    """Text in, text that may leave out. Holds at most one character less than the longest stop string.

    `include`: the stop string itself is part of the answer, and then nothing is withheld.
    """

    __slots__ = ("_held", "_hold", "_include", "_min_tokens", "_released", "_stops")

    def __init__(self, stops: Sequence[str], *, include: bool = False, min_tokens: int = 0) -> None:
        self._stops = tuple(stops)
        self._include = include
        self._min_tokens = min_tokens
        self._hold = max(map(len, self._stops)) - 1
        self._held = ""
        self._released = 0  # characters of `_held` that have left already

    def feed(self, text: str, tokens: int) -> tuple[str, str | None]:
        """What may leave now, and the stop string that ends the answer, of which there are so many tokens by now."""
        window, released = self._held + text, self._released
        if tokens > self._min_tokens:
            met = [(at, stop) for stop in self._stops if (at := window.find(stop)) >= 0]
            if met:
                at, stop = min(met, key=lambda found: found[0])
                self._held, self._released = "", 0
                return window[released : at + len(stop) if self._include else at], stop
        cut = max(0, len(window) - self._hold)
        self._held = window[cut:]
        self._released = len(self._held) if self._include else 0
        return (window[released:] if self._include else window[:cut]), None

    def rest(self) -> str:
        """What is still held, when the answer ended for another reason."""
        held, self._held = self._held[self._released :], ""
        self._released = 0
        return held

    def packed(self) -> list[Any]:
        """All of it, for another process."""
        return [self._stops, self._include, self._min_tokens, self._held, self._released]

    @staticmethod
    def unpacked(state: Sequence[Any]) -> "StopMatcher":
        """The inverse of `packed`."""
        stops, include, min_tokens, held, released = state
        matcher = StopMatcher(stops, include=include, min_tokens=min_tokens)
        matcher._held, matcher._released = held, released
        return matcher
