"""Rules that no gateway can follow: some know how long every answer will be, one takes too long to decide.

They show what knowing, and deciding well, would be worth.
"""

from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Final

from gateway.core.capacity import WATERMARK
from gateway.core.job import Job
from gateway.core.policies import POLICIES, PolicyRule, find_policy
from gateway.core.policies.andes import Andes
from gateway.core.policies.base import InOrder
from gateway.core.policies.places import Bid
from gateway.core.policies.vtc import Vtc
from gateway.core.roster import Roster
from loadgen.simulator.packing import Item, exact

_BLOCK: Final = 256  # tokens: of memory, in the table of the dynamic program
_CHOSEN: Final = 10.0  # more than any gain for a token of memory


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


class AndesDp(Andes):
    """Andes' knapsack to the optimum by dynamic programming: of all engines as one, in blocks of memory."""

    def rank(self, jobs: Sequence[Job], now: float) -> list[Bid]:
        bids = super().rank(jobs, now)
        ready = [load.capacity for load in self._roster.fleet if load.capacity.ready]
        memory = sum(int(WATERMARK * (each.kv_tokens or 0)) for each in ready)
        needs = [bid.job.reserved or self._roster.need(bid.job) for bid in bids]
        # By rank times length, so that what runs has its bonus here too.
        items = [Item(bid.rank * bid.job.context_tokens, need) for bid, need in zip(bids, needs, strict=True)]
        best = set(exact(items, sum(each.max_running for each in ready), memory, block=_BLOCK).chosen)
        return [bid._replace(rank=_CHOSEN + bid.rank) if index in best else bid for index, bid in enumerate(bids)]


ORACLES: Final[Mapping[str, PolicyRule]] = MappingProxyType(
    {
        "andes_dp": PolicyRule(AndesDp),
        "vtc_oracle": PolicyRule(Vtc, knows_outputs=True),
        "srpt_oracle": PolicyRule(Srpt),
    }
)

RULES: Final = (*POLICIES, *ORACLES)
"""The names that `find_rule` knows, besides `rpm(N)`."""


def find_rule(name: str) -> PolicyRule:
    """A policy of the gateway or an oracle, by name. KeyError: there is none."""
    return ORACLES[name] if name in ORACLES else find_policy(name)
