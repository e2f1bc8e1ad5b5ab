"""What is asked of a gateway: requests with their arrival times, lengths, clients and readers.

A workload is made once, from a trace (`traces`) or a scenario (`scenarios`), and then served by the simulator or sent
over the network. Nothing in it depends on how it is served. Times are in seconds from the start of the run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gateway.core.pace import Pace

Away = tuple[tuple[float, float], ...]
"""When a reader is away (tab hidden, line lost): (left, back), seconds since the arrival, ascending, apart."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who waits for an answer: away in these intervals, and gone for good after `leaves_after_s` (None: stays).

    In `gone` the connection is closed, and the answer is read on over a new one; nobody looks meanwhile.

    In `outages` nothing gets through the reader's network, and what was held back comes at their end. `bytes_per_s` is
    the most that it carries (None: no limit).
    """

    away: Away = ()
    leaves_after_s: float | None = None
    outages: Away = ()
    bytes_per_s: float | None = None
    gone: Away = ()

    @property
    def absent(self) -> Away:
        """When nobody looks, for either reason."""
        spans: list[tuple[float, float]] = []
        for left, back in sorted(self.away + self.gone):
            if spans and left <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(back, spans[-1][1]))
            else:
                spans.append((left, back))
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `output_tokens` is the exact length of its answer. `weight` is its client's share."""

    index: int
    arrived_s: float
    client: str
    input_tokens: int
    output_tokens: int
    pace: Pace
    weight: float = 1.0
    reader: Reader = Reader()


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of arrival; `index` counts them from 0."""

    name: str
    requests: tuple[Request, ...]


class Arrivals(Protocol):
    """A workload, or what makes its requests only when they are asked for."""

    @property
    def requests(self) -> Iterable[Request]:
        """In order of arrival; `index` counts from 0."""
