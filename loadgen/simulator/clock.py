"""Virtual time: things happen in the order of their times, ties in the order in which they were planned."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Clock:
    """`now` is in seconds from the start of the run."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()

    def at(self, when: float, what: Callable[[Any], None], about: Any = None) -> None:
        """Let something happen then."""
        heappush(self._events, (when, next(self._order), what, about))

    def pass_time(self) -> None:
        """Until nothing is planned any more."""
        while self._events:
            self.now, _, what, about = heappop(self._events)
            what(about)
