"""The figures of a live run: those of `measures`, and what only a client at the other end of a wire can see.

TPOT is the time from the first token to the last over the tokens after the first, per job; inter-token times are
between tokens, those that came together being 0 apart; end to end is from the planned arrival to the last token.
Goodput counts the jobs that finished within every objective that was set, per second of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from loadgen.histogram import Histogram
from loadgen.live_job import Tally
from loadgen.measures import percentile, summarise
from loadgen.records import JobRecord
from loadgen.sender import Outcome

STALL_S: Final = 1.0
"""A silence that a reader notices."""


@dataclass(frozen=True, slots=True)
class Objectives:
    """What a good job keeps to; None: anything goes."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    qoe: float | None = None

    def kept(self, record: JobRecord) -> bool:
        """Whether a job finished within all of them."""
        if record.outcome != "finished" or record.first_token_s is None:
            return False
        ttft, tpot = record.first_token_s - record.arrived_s, tpot_s(record) or 0.0
        return (
            (self.ttft_s is None or ttft <= self.ttft_s)
            and (self.tpot_s is None or tpot <= self.tpot_s)
            and (self.qoe is None or record.qoe >= self.qoe)
        )


def tpot_s(record: JobRecord) -> float | None:
    """Seconds per output token after the first; None where there is no second one."""
    if record.first_token_s is None or record.last_token_s is None or record.produced < 2:
        return None
    return (record.last_token_s - record.first_token_s) / (record.produced - 1)


def live_figures(outcome: Outcome, objectives: Objectives) -> dict[str, Any]:
    """Everything under "live" in the result file."""
    records = outcome.records
    figures = summarise(records)
    span_s = max((record.ended_s or 0.0 for record in records), default=0.0)
    tpot = np.array([each for each in map(tpot_s, records) if each is not None])
    lag = outcome.tally.lag
    return {
        **figures,
        "tpot_p50_ms": _ms(percentile(tpot, 50)),
        "tpot_p99_ms": _ms(percentile(tpot, 99)),
        **_inter_token(outcome.tally.itl),
        **_end_to_end(records),
        **_stalls(records),
        "goodput_per_s": sum(map(objectives.kept, records)) / span_s if span_s else None,
        **_coming_back(outcome.tally),
        "tokens_counted_by": dict(outcome.tally.counting),
        "lag_p50_ms": _ms(lag.percentile(50)),
        "lag_p99_ms": _ms(lag.percentile(99)),
        "generator_cpu_share": outcome.cpu_share,
        "generator_bottleneck": outcome.bottleneck,
    }


def _coming_back(tally: Tally) -> dict[str, int | None]:
    """None where nobody came back to an answer."""
    counts: dict[str, int | None] = {"came_back": tally.returns, "lost_text": tally.lost, "doubled_text": tally.doubled}
    return counts if tally.returns else dict.fromkeys(counts)


def _inter_token(itl: Histogram) -> dict[str, float | None]:
    return {
        "itl_mean_ms": _ms(itl.mean_s),
        "itl_median_ms": _ms(itl.percentile(50)),
        "itl_std_ms": _ms(itl.deviation_s),
        "itl_p99_ms": _ms(itl.percentile(99)),
    }


def _stalls(records: Sequence[JobRecord]) -> dict[str, float | None]:
    """The longest silence of each reader who had begun; not of who looked away, whose silences are their own."""
    stalls = np.array([record.stall_s for record in records if record.stall_s is not None])
    return {
        "stall_p99_s": percentile(stalls, 99),
        "worst_stall_s": percentile(stalls, 100),
        "stalled_share": float((stalls > STALL_S).mean()) if len(stalls) else None,
    }


def _end_to_end(records: Sequence[JobRecord]) -> dict[str, float | None]:
    times = np.array([r.last_token_s - r.arrived_s for r in records if r.last_token_s is not None])
    return {"e2e_p50_s": percentile(times, 50), "e2e_p99_s": percentile(times, 99)}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
