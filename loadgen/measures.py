"""What a run amounts to: one dictionary of figures from its records.

Definitions. QoE as gateway/core/qoe.py has it, a job that failed or was rejected counting 0. TTFT is the time from a
job's arrival to its first token, over the jobs that got one. Service is input + 2 * output tokens, divided by the
client's weight; what was computed again after a pause is not service. Percentiles are linear between ranks. A figure
that cannot be known from what is there is None.

Service differences as the VTC artifact computes them (its visualize.py and plot_revision.py, for Table 2 of arXiv
2401.00588): at the 19 inner points that cut the time from 30 s to the last arrival into 20, s_i is what client i got
within 30 s to either side, per second, a job's service being spread evenly from its first token to its last; r_i is
what the client's arrivals of the same window asked for, those of rejected jobs left out; then D = sum over i of
min(s_max - s_i, |r_i - s_i|), and its mean, maximum and variance.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.records import JobRecord

INPUT_WEIGHT: Final = 1.0
OUTPUT_WEIGHT: Final = 2.0
PERFECT: Final = 0.95
HALF_WINDOW_S: Final = 30.0
PIECES: Final = 20

Array = NDArray[np.float64]


def summarise(records: Sequence[JobRecord], gap: float | None = None, plan_ms: Sequence[float] = ()) -> dict[str, Any]:
    """The figures of a run, by the names that every report uses.

    `gap` is the largest service gap (`GapMeter.largest`), `plan_ms` how long single decisions took.
    """
    qoe = np.array([record.qoe for record in records])
    started = [record for record in records if record.first_token_s is not None]
    ttft = _ttft(started)
    table = Table.of(records)
    return {
        "jobs": len(records),
        "avg_qoe": _mean(qoe),
        "p10_qoe": percentile(qoe, 10),
        "perfect_share": _mean(qoe >= PERFECT),
        "perfect_share_99": _mean(qoe >= 0.99),
        "ttft_mean_s": _mean(ttft),
        "ttft_p50_s": percentile(ttft, 50),
        "ttft_p90_s": percentile(ttft, 90),
        "ttft_p99_s": percentile(ttft, 99),
        "max_service_gap": gap,
        **service_differences(table),
        **_throughput(records),
        **_pauses(records),
        "plan_ms_p50": percentile(np.array(plan_ms), 50),
        "plan_ms_p99": percentile(np.array(plan_ms), 99),
        "jain": jain(table),
        "unserved_share": _mean(np.array([record.outcome in ("failed", "rejected") for record in records])),
        "outcomes": dict(Counter(record.outcome for record in records)),
        "errors": dict(Counter(record.error for record in records if record.error)),
        "ttft_mean_by_client_s": _by_client(started),
    }


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of records that the service of a client is made of; clients are numbered in order of appearance.

    `asked` and `got` are service of each job; it was got evenly from `first_s` to `last_s` (nan: nothing came).
    """

    client: NDArray[np.intp]
    weight: Array
    arrived_s: Array
    first_s: Array
    last_s: Array
    asked: Array
    got: Array

    @classmethod
    def of(cls, records: Iterable[JobRecord]) -> "Table":
        """Of all jobs that were not rejected: the artifact leaves those out of what was asked for too."""
        rows = [r for r in records if r.outcome != "rejected"]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(r.client for r in rows))}
        weights = dict.fromkeys(numbers, 1.0) | {r.client: r.weight for r in rows}
        return cls(
            client=np.array([numbers[r.client] for r in rows], dtype=np.intp),
            weight=np.array([weights[name] for name in numbers]),
            arrived_s=np.array([r.arrived_s for r in rows]),
            first_s=np.array([np.nan if r.first_token_s is None else r.first_token_s for r in rows]),
            last_s=np.array([np.nan if r.last_token_s is None else r.last_token_s for r in rows]),
            asked=np.array([INPUT_WEIGHT * r.input_tokens + OUTPUT_WEIGHT * r.output_tokens for r in rows]),
            got=np.array([INPUT_WEIGHT * r.input_tokens + OUTPUT_WEIGHT * r.produced for r in rows]),
        )

    def received(self, low_s: float, high_s: float) -> Array:
        """Service of each client from `low_s` to before `high_s`, not divided by its weight."""
        length = self.last_s - self.first_s
        overlap = np.minimum(self.last_s, high_s) - np.maximum(self.first_s, low_s)
        inside = (self.first_s >= low_s) & (self.first_s < high_s)
        share = np.where(length > 0, np.maximum(overlap, 0.0) / np.where(length > 0, length, 1.0), inside)
        return self._by_client(self.got * np.nan_to_num(share))

    def requested(self, low_s: float, high_s: float) -> Array:
        """Service that the arrivals of each client from `low_s` to before `high_s` ask for."""
        return self._by_client(self.asked * ((self.arrived_s >= low_s) & (self.arrived_s < high_s)))

    def _by_client(self, values: Array) -> Array:
        sums = np.zeros(len(self.weight))
        np.add.at(sums, self.client, values)
        return sums


def service_differences(table: Table) -> dict[str, float | None]:
    """Mean, maximum and variance of the artifact's D(t); None for a run whose arrivals end within 30 s."""
    end_s = float(table.arrived_s.max(initial=0.0))
    if end_s <= HALF_WINDOW_S:
        return dict.fromkeys(("avg_service_diff", "max_service_diff", "var_service_diff"))
    differences = []
    for middle_s in np.linspace(HALF_WINDOW_S, end_s, PIECES + 1)[1:-1]:
        window = (middle_s - HALF_WINDOW_S, middle_s + HALF_WINDOW_S)
        got = table.received(*window) / table.weight / (2 * HALF_WINDOW_S)
        asked = table.requested(*window) / table.weight / (2 * HALF_WINDOW_S)
        differences.append(float(np.minimum(got.max() - got, np.abs(asked - got)).sum()))
    return {
        "avg_service_diff": float(np.mean(differences)),
        "max_service_diff": max(differences),
        "var_service_diff": float(np.var(differences)),
    }


def jain(table: Table) -> float | None:
    """Jain's index of what each client got over what max-min fairness would have given it, up to the last arrival.

    The fair allocation shares what was served in all by weight, nobody getting more than it asked for. 1 is fair; 1/n
    is everything to one of n clients. After the last arrival everybody gets what is left, so that time says nothing.
    """
    end_s = float(table.arrived_s.max(initial=0.0))
    got, asked = table.received(0.0, end_s), table.requested(0.0, np.nextafter(end_s, np.inf))
    fair = _max_min(asked, table.weight, min(float(got.sum()), float(asked.sum())))
    shares = got[fair > 0] / fair[fair > 0]
    squares = float((shares**2).sum())
    return float(shares.sum()) ** 2 / (len(shares) * squares) if squares else None


def _max_min(asked: Array, weight: Array, total: float) -> Array:
    """Weighted max-min shares of `total`: those who want least per weight are served in full first."""
    fair, left, weights = np.zeros(len(asked)), total, float(weight.sum())
    for at in np.argsort(asked / weight):
        fair[at] = min(float(asked[at]), left * float(weight[at]) / weights) if weights > 0 else 0.0
        left, weights = left - fair[at], weights - float(weight[at])
    return fair


def percentile(values: Array, rank: float) -> float | None:
    """Linear between ranks; None of nothing."""
    return float(np.percentile(values, rank)) if len(values) else None


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None


def _ttft(started: Sequence[JobRecord]) -> Array:
    return np.array([r.first_token_s - r.arrived_s for r in started if r.first_token_s is not None])


def _by_client(started: Sequence[JobRecord]) -> dict[str, float]:
    """Mean TTFT of each client, in seconds."""
    jobs: dict[str, list[JobRecord]] = {}
    for record in started:
        jobs.setdefault(record.client, []).append(record)
    return {client: float(_ttft(own).mean()) for client, own in jobs.items()}


def _throughput(records: Sequence[JobRecord]) -> dict[str, float | None]:
    """Tokens of finished jobs per second, from the run's start to the end of the last one."""
    done = [r for r in records if r.outcome == "finished" and r.ended_s is not None]
    end_s = max((r.ended_s for r in done if r.ended_s is not None), default=0.0)
    output, prompt = sum(r.produced for r in done), sum(r.input_tokens for r in done)
    return {
        "throughput_tok_s": (prompt + output) / end_s if end_s else None,
        "output_tok_s": output / end_s if end_s else None,
        "span_s": end_s,
    }


def _pauses(records: Sequence[JobRecord]) -> dict[str, float | None]:
    """None where pauses cannot be seen."""
    seen = [r.pauses for r in records if r.pauses is not None]
    stalls = [r.stall_after_pause_s for r in records if r.stall_after_pause_s is not None]
    return {
        "preemptions_per_job": sum(seen) / len(seen) if seen else None,
        "worst_stall_after_pause_s": max(stalls, default=0.0 if seen else None),
        "reprefilled_tokens": sum(r.reprefilled_tokens or 0 for r in records) if seen else None,
    }
