"""Tables of measures: runs side by side, for a terminal and as Markdown; repeats as a mean with its confidence.

A run's figures are the dictionary that `measures.summarise` makes, one under each name of "policies" in a result file.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROWS: Final[Sequence[tuple[str, str, str]]] = (
    ("jobs", "jobs", ",.0f"),
    ("unserved_share", "failed or rejected", ".1%"),
    ("avg_qoe", "average QoE", ".3f"),
    ("p10_qoe", "10th percentile QoE", ".3f"),
    ("perfect_share", "share of QoE >= 0.95", ".1%"),
    ("ttft_p50_s", "TTFT p50 (s)", ".2f"),
    ("ttft_p90_s", "TTFT p90 (s)", ".2f"),
    ("ttft_p99_s", "TTFT p99 (s)", ".2f"),
    ("tpot_p50_ms", "time per output token p50 (ms)", ".1f"),
    ("itl_p99_ms", "inter-token p99 (ms)", ".1f"),
    ("e2e_p50_s", "end to end p50 (s)", ".2f"),
    ("goodput_per_s", "goodput (jobs/s in their SLO)", ".2f"),
    ("max_service_gap", "largest service gap", ",.0f"),
    ("avg_service_diff", "average service difference", ",.1f"),
    ("max_service_diff", "largest service difference", ",.1f"),
    ("jain", "Jain index", ".3f"),
    ("throughput_tok_s", "tokens/s, prompt and output", ",.0f"),
    ("output_tok_s", "output tokens/s", ",.0f"),
    ("preemptions_per_job", "preemptions per job", ".2f"),
    ("worst_stall_after_pause_s", "worst stall after a pause (s)", ".2f"),
    ("stalled_share", "share of readers who stalled for 1 s", ".1%"),
    ("worst_stall_s", "worst stall (s)", ".2f"),
    ("plan_ms_p50", "plan p50 (ms)", ".3f"),
    ("came_back", "readers' returns", ",.0f"),
    ("lost_text", "text lost to who came back (events)", ",.0f"),
    ("doubled_text", "text that they got twice (events)", ",.0f"),
    ("lag_p99_ms", "generator lag p99 (ms)", ".2f"),
)
"""The measures that a table shows: key, words, format."""

UNKNOWN: Final = "-"

T_975: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)
"""Student's t, two-sided 95 %, for 1 to 14 degrees of freedom; above that 1.96 + 2.5/df is within 0.005 of it."""

Figures = Mapping[str, Any]


class ResultError(ValueError):
    """A result file that cannot be read; the message names it."""


def read_result(path: str | Path) -> dict[str, Any]:
    """A file of `simulate` or `attack`: `{"config": ..., "policies": {name: figures}}`. Raises ResultError."""
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ResultError(f"{path}: {problem}") from problem
    if not isinstance(result, dict) or not isinstance(result.get("policies"), dict):
        raise ResultError(f"{path}: no result of simulate or attack: it has no policies")
    return result


def side_by_side(runs: Mapping[str, Figures]) -> list[list[str]]:
    """A row per measure that at least one run knows, a column per run."""
    rows = [["", *runs]]
    for key, words, form in ROWS:
        cells = [_shown(figures.get(key), form) for figures in runs.values()]
        if any(cell != UNKNOWN for cell in cells):
            rows.append([words, *cells])
    return rows


def compared(runs: Mapping[str, Sequence[Figures]]) -> list[list[str]]:
    """As `side_by_side`, over repeats: the mean and half the width of its 95 % confidence interval."""
    rows = [["", *(f"{name} ({len(repeats)})" for name, repeats in runs.items())]]
    for key, words, form in ROWS:
        cells = []
        for repeats in runs.values():
            known = [figures[key] for figures in repeats if figures.get(key) is not None]
            cells.append(_mean(known, form) if known else UNKNOWN)
        if any(cell != UNKNOWN for cell in cells):
            rows.append([words, *cells])
    return rows


def interval(values: Sequence[float]) -> float:
    """Half the width of the mean's 95 % confidence interval; infinite for a single value."""
    if len(values) < 2:
        return math.inf
    df = len(values) - 1
    t = T_975[df - 1] if df <= len(T_975) else 1.96 + 2.5 / df
    return t * statistics.stdev(values) / math.sqrt(len(values))


def terminal(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, words to the left and figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *figures]).rstrip())
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def _shown(value: Any, form: str) -> str:
    return UNKNOWN if value is None else format(value, form)


def _mean(values: Sequence[float], form: str) -> str:
    middle = format(statistics.fmean(values), form)
    half = interval(values)
    return middle if math.isinf(half) else f"{middle} ± {format(half, form)}"
