"""Readers behind networks that are not good: what was sent comes late, in bursts, or over a new connection.

Rules of this file. Times are in seconds since the request came to the gateway, unless a name says otherwise.

1. A packet needs half a round trip and a delay of its own, exponential with mean `jitter_s`. Nothing overtakes: what is
   held up holds up everything behind it.
2. In a stall nothing comes, and then all at once. The gateway sees nothing of it.
3. In a cut the connection is lost. The gateway parks the stream at once, as it does when its last reader has left. The
   reader, who goes on looking, is back at the cut's end, and gets what it has not seen half a round trip after its
   request is there.
4. A reader who tells says once, a second after its request, what a browser measures: the round trip, and the 95th
   percentile of what else delays a packet.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.events import ReaderReport
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.workload import Arrivals, Away, Request

REPORT_S: Final = 1.0
_PROBE_S: Final = 0.25
_PROBES: Final = 400
_SPANS: Final = 100


@dataclass(frozen=True, slots=True)
class Network:
    """A kind of network. Stalls and cuts have exponential lengths at exponential distances; a length of 0: none."""

    name: str
    round_trip_s: float
    jitter_s: float
    stall_every_s: float = 1.0
    stall_s: float = 0.0
    cut_every_s: float = 1.0
    cut_s: float = 0.0

    def line(self, seed: int, index: int) -> "Line":
        """What the reader of this request gets of it."""
        draw = random.Random(f"network:{seed}:{self.name}:{index}")
        stalls = _spans(self.stall_every_s, self.stall_s, 0.0, draw)
        # A connection is not lost again before it is there.
        cuts = _spans(self.cut_every_s, self.cut_s, self.round_trip_s, draw)
        return Line(self, stalls, cuts, draw.getrandbits(32))


@dataclass(frozen=True, slots=True)
class Line:
    """One answer's way to its reader."""

    network: Network
    stalls: Away
    cuts: Away
    seed: int

    def screen(self, sent: Iterable[float]) -> list[float]:
        """When what was sent at these ascending times is before the reader, in seconds since they asked."""
        half_s, draw, last = self.network.round_trip_s / 2, random.Random(self.seed), 0.0
        seen = []
        for at in sent:
            comes = at + half_s + self._delay(draw)
            comes = next((end for begin, end in self.stalls if begin <= comes < end), comes)
            for lost, back in self.cuts:
                if at < back and comes > lost:
                    comes = back + 2 * half_s
            last = max(last, comes)
            seen.append(last + half_s)
        return seen

    def report(self) -> ReaderReport:
        """What a browser says of the line."""
        probes = [number * _PROBE_S for number in range(_PROBES)]
        least_s = self.network.round_trip_s
        uncut = Line(self.network, self.stalls, (), self.seed)
        delays = sorted(seen - at - least_s for at, seen in zip(probes, uncut.screen(probes), strict=True))
        return ReaderReport(round_trip_s=least_s, jitter_s=delays[int(0.95 * _PROBES)])

    def _delay(self, draw: random.Random) -> float:
        return draw.expovariate(1 / self.network.jitter_s) if self.network.jitter_s else 0.0


class Networked(World):
    """A world whose readers are behind `lines`, by the index of their request."""

    def __init__(self, workload: Arrivals, setup: Setup, lines: Mapping[int, Line], *, told: bool) -> None:
        super().__init__(workload, setup)
        self._lines = lines
        self._told = told

    def _expect_reader(self, job: SimJob, request: Request) -> None:
        super()._expect_reader(job, request)
        line = self._lines[request.index]
        half_s = line.network.round_trip_s / 2
        for lost, back in line.cuts:
            self.at(request.arrived_s + lost, self._cut, job)
            self.at(request.arrived_s + back + half_s, self._return, job)
        if self._told:
            self.at(request.arrived_s + REPORT_S + half_s, self._report, (job, line))

    def _cut(self, job: SimJob) -> None:
        if job.ended_s is not None:
            return
        gateway = self._gateways[job.gateway]
        if (leg := gateway.legs.get(job.id)) is not None:
            self._stop(leg)
        gateway.scheduler.park(job.id, self.now)
        self._consider(gateway)

    def _return(self, job: SimJob) -> None:
        if job.ended_s is None:
            gateway = self._gateways[job.gateway]
            gateway.scheduler.unpark(job.id, self.now)
            self._consider(gateway)

    def _report(self, about: Any) -> None:
        job, line = about
        if job.ended_s is None:
            self._scheduler(job).reader(job.id, line.report(), self.now)


def _spans(apart_s: float, length_s: float, least_s: float, draw: random.Random) -> Away:
    spans, end = [], 0.0
    for _ in range(_SPANS if length_s else 0):
        begin = end + least_s + draw.expovariate(1 / apart_s)
        end = begin + draw.expovariate(1 / length_s)
        spans.append((begin, end))
    return tuple(spans)
