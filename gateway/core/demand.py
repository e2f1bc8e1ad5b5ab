"""What a gateway could use of each engine: the line that it writes into the ledger.

A waiting job may start at any engine of the pool, so what waits is asked for in equal parts at all of them. Tokens are
counted as the ledger counts them: of a share of so many, only the watermark's part is filled.
"""

from collections.abc import Mapping
from itertools import islice
from math import ceil
from typing import Final

from gateway.core.capacity import WATERMARK, EngineCapacity
from gateway.core.roster import Roster
from gateway.core.shares import Amount, Line

_LOOK_AT: Final = 2048  # waiting jobs at most, and among them
_SAMPLE: Final = 128  # jobs that want to run: the others are taken to be as large


def lines_of(roster: Roster, wholes: Mapping[str, EngineCapacity]) -> dict[str, Line]:
    """A line for each engine that is here; `wholes` are the engines as they are, undivided. O(tenants that wait)."""
    engines = [load for load in roster.fleet if load.id in wholes]
    takers = max(1, sum(1 for load in engines if wholes[load.id].ready))
    waiting = sum(account.wanting for account in roster.counters.backlog())
    sample = islice((job for job in islice(roster.waiting.values(), _LOOK_AT) if job.wants), _SAMPLE)
    needs = [roster.need(job) / WATERMARK for job in sample]
    mean = sum(needs) / len(needs) if needs else 0.0
    must = ceil(needs[0]) if needs else 0
    seats = ceil(waiting / takers)
    tokens = max(must, ceil(mean * waiting / takers))
    weight = _weight(roster, 2 * mean if needs else 1.0)
    lines = {}
    for load in engines:
        whole = wholes[load.id]
        used = Amount(load.running, ceil(load.tokens / WATERMARK) if whole.kv_tokens else 0)
        want = Amount(used.seats + seats, used.tokens + tokens) if whole.ready else used
        engine = Amount(whole.max_running, whole.kv_tokens or 0)
        first = min(must, engine.tokens) if whole.ready else 0
        lines[load.id] = Line(used=used, want=want, whole=engine, must=first, weight=weight)
    return lines


def _weight(roster: Roster, job_service: float) -> float:
    """The tenants that wait here: all of one that is furthest behind anywhere, less of one that is ahead.

    A tenant that is one job ahead counts half. So places go to where the tenants wait whose turn it is.
    """
    counters = roster.counters
    floor = counters.floor() or 0.0
    weights = (
        account.weight / (1.0 + max(0.0, account.counter - floor) * account.weight / job_service)
        for account in counters.backlog()
    )
    return max(0.01, sum(weights))
