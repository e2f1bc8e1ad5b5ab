"""Rules that know how long every answer will be: no gateway can follow them, but they show what knowing is worth."""

from collections.abc import Mapping
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final

from gateway.core.job import Job
from gateway.core.policies import POLICIES, PolicyRule, find_policy
from gateway.core.policies.base import InOrder
from gateway.core.policies.vtc import Vtc
from gateway.core.roster import Roster


class Srpt(InOrder):
    """Whose answer has least left starts next; an answer of unknown length comes last. Pauses nobody."""

    def __init__(self, roster: Roster) -> None:
        super().__init__(roster)
        self._heap: list[tuple[float, int, Job]] = []
        self._left: dict[int, float] = {}  # tokens, by order of arrival

    def push(self, job: Job) -> None:
        known = job.spec.known_output
        left = float("inf") if known is None else float(known - job.produced)
        self._left[job.order] = left
        heappush(self._heap, (left, job.order, job))

    def discard(self, job: Job) -> None:
        self._left.pop(job.order, None)

    def peek(self) -> Job | None:
        while self._heap:
            left, order, job = self._heap[0]
            if self._left.get(order) == left:
                return job
            heappop(self._heap)
        return None


ORACLES: Final[Mapping[str, PolicyRule]] = MappingProxyType(
    {
        "vtc_oracle": PolicyRule(Vtc, knows_outputs=True),
        "srpt_oracle": PolicyRule(Srpt),
    }
)

RULES: Final = (*POLICIES, *ORACLES)
"""The names that `find_rule` knows, besides `rpm(N)`."""


def find_rule(name: str) -> PolicyRule:
    """A policy of the gateway or an oracle, by name. KeyError: there is none."""
    return ORACLES[name] if name in ORACLES else find_policy(name)
