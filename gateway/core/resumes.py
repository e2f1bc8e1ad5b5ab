"""What going on after a cut costs on one engine, learned from what it has cost.

Two things are seen. How long the first token took tells how far a lead must reach: its ratio to what the engine's model
says of a start. How many of the tokens sent again the engine still knew tells what a resume takes of its time; where an
engine does not say so, resumes that come sooner than a start suggest it.
"""

from collections import deque
from statistics import median
from typing import Final

_REMEMBERED: Final = 15  # resumes: half of them outvote any number of odd ones
_PRIOR: Final = (1.0, 1.0, 1.0)  # a resume is believed to be like a start until some have been seen
_RANGE: Final = (0.02, 20.0)


class ResumeCost:
    """The last resumes on one engine. Robust: a time that is far off moves the median by one place at most."""

    __slots__ = ("_ratios", "_told", "computed", "factor")

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(_PRIOR, maxlen=_REMEMBERED)
        self._told: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self.factor = 1.0
        """Time to a resume's first token, as a multiple of the same for a start of that length."""
        self.computed = 1.0
        """The share of the tokens sent again that the engine computes, 0 to 1."""

    def __repr__(self) -> str:
        return f"<ResumeCost x{self.factor:.2f}, computes {self.computed}>"

    def took(self, seconds: float, expected_s: float) -> None:
        """A resume's first token came after so long; a start of its length would have taken `expected_s`."""
        if expected_s > 0:
            low, high = _RANGE
            self._ratios.append(min(high, max(low, seconds / expected_s)))
            self.factor = median(self._ratios)
            self.computed = self._computed()

    def told(self, sent: int, cached: int) -> None:
        """Of so many tokens sent again the engine still knew so many."""
        if sent > 0:
            self._told.append((sent, min(sent, max(0, cached))))
            self.computed = self._computed()

    def _computed(self) -> float:
        """Until the engine has told, what its first tokens suggest: sooner than after a start of that length means that
        some of it was known; later means only that others came first."""
        if not self._told:
            return sum(min(1.0, ratio) for ratio in self._ratios) / len(self._ratios)
        return 1 - sum(cached for _, cached in self._told) / sum(sent for sent, _ in self._told)
