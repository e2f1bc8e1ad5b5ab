"""The readers of one side of a burst, at a moment: who waits, who reads, how good it was so far.

QoE is that of the core (`gateway/core/qoe.py`), of what came over the network, on each reader's own clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.core.tracker import QoeTracker
from loadgen.live_job import LiveJob
from loadgen.workload import Request

PERFECT: Final = 0.99
"""The QoE of an answer that no reader finds fault with."""

ABSENT, WAITS, READS, STALLED, DONE, PERFECTLY, FAILED = ".wrsdpx"
"""Not come yet; waits for the first word; reads; read all that came; read all of it; without a wait; got none."""


class Watched:
    """One reader: the job that is followed, and the QoE of what came of it."""

    def __init__(self, job: LiveJob) -> None:
        self._job = job
        self._tracker = QoeTracker(job.request.pace, job.planned)
        self._seen = 0
        self.tokens = 0

    def look(self, now: float) -> str:
        """Take in what has come; one of the letters above."""
        pieces = self._job.answer.pieces
        for piece in pieces[self._seen :]:
            self.tokens += max(1, piece.ids)
            self._tracker.deliver(self.tokens, piece.at)
        self._seen = len(pieces)
        outcome = self._job.outcome
        if outcome is not None and outcome != "finished":
            self._tracker.fail()
            return FAILED
        if outcome == "finished":
            self._tracker.finish(self._job.ended)
        if not self._seen:
            return WAITS
        if self._tracker.lead(now) > 0:
            return READS
        if outcome is None:
            return STALLED
        return PERFECTLY if self.qoe(now) >= PERFECT else DONE

    def qoe(self, now: float) -> float:
        """So far; of the whole answer once that has come."""
        return self._tracker.qoe(now)

    def first_word_s(self, now: float) -> float:
        """How long it waited, or has waited until now, for its first word (s)."""
        first = self._job.answer.first_at
        return (now if first is None else first) - self._job.planned


@dataclass(slots=True)
class Audience:
    """All readers of one side, by the number of their request."""

    requests: Sequence[Request]
    watched: dict[int, Watched] = field(default_factory=dict)

    def watch(self, request: Request, planned: float) -> LiveJob:
        """A request that is about to be sent."""
        job = LiveJob(request, planned)
        self.watched[request.index] = Watched(job)
        return job

    def frame(self, now: float) -> dict[str, Any]:
        """How they fare; every mean is over those who have come.

        `readers` has a letter for each request, in their order. `qoe` and `perfect` (a share) are of all of them,
        `tenants` has for each `qoe`, `wait_s` (for the first word) and `tokens`.
        """
        letters = {index: each.look(now) for index, each in self.watched.items()}
        perfect = [each.qoe(now) >= PERFECT and letters[index] != FAILED for index, each in self.watched.items()]
        return {
            "readers": "".join(letters.get(request.index, ABSENT) for request in self.requests),
            "qoe": _mean([each.qoe(now) for each in self.watched.values()]),
            "perfect": _mean(perfect),
            "tenants": [self._tenant(name, now) for name in tenants(self.requests)],
        }

    def _tenant(self, name: str, now: float) -> dict[str, Any]:
        clients = {request.index for request in self.requests if request.client == name}
        mine = [each for index, each in self.watched.items() if index in clients]
        return {
            "qoe": _mean([each.qoe(now) for each in mine]),
            "wait_s": _mean([each.first_word_s(now) for each in mine]),
            "tokens": sum(each.tokens for each in mine),
        }


def tenants(requests: Sequence[Request]) -> list[str]:
    """Their names: who asks most, then the others by name."""
    asked: dict[str, int] = {}
    for request in requests:
        asked[request.client] = asked.get(request.client, 0) + 1
    most = max(asked, key=asked.__getitem__, default="")
    return sorted(asked, key=lambda name: (name != most, name))


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
