"""Figures of runs, from their records: QoE against load, service, gap, first tokens, one job's timeline.

Each function returns a matplotlib Figure that belongs to no window and no global state. Colours are Okabe and Ito's,
which most people with a colour vision deficiency can tell apart; line styles differ too.
"""

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from gateway.core.pace import Pace
from gateway.core.qoe import Away, Delivery, shown_times
from loadgen.measures import INPUT_WEIGHT, OUTPUT_WEIGHT
from loadgen.records import JobRecord

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
STYLES: Final = ("-", "--", "-.", ":")
MOST_TENANTS: Final = 7
"""More than these are drawn together as "others"."""

MOST_BARS: Final = 12

Curve = Sequence[tuple[float, float]]


def qoe_against_load(
    curves: Mapping[str, Curve], *, load: str = "readers at once", measure: str = "average QoE", goal: float = 0.95
) -> Figure:
    """One line per policy: (load, QoE) points, or another `measure`; `goal` is drawn as a level."""
    figure, axes = _axes(load, measure)
    axes.axhline(goal, color="#999999", linewidth=0.8, linestyle=":")
    for number, (name, points) in enumerate(curves.items()):
        axes.plot(*_columns(sorted(points)), label=name, marker="o", markersize=3.5, **_look(number))
    largest = max((value for points in curves.values() for _, value in points), default=1.0)
    axes.set_ylim(0, 1.03 if largest <= 1 else None)
    _legend(axes)
    return figure


def service_over_time(records: Sequence[JobRecord], *, window_s: float | None = None) -> Figure:
    """What each tenant got (input + 2 * output tokens, over its weight, per second) in windows of `window_s` seconds.

    The prompt counts at the first token, the output evenly from there to the last one. By default a run has about 30
    windows, of 60 s at most.
    """
    done = [r for r in records if r.first_token_s is not None and r.last_token_s is not None]
    end_s = max((r.last_token_s or 0.0 for r in done), default=1.0)
    window_s = min(60.0, end_s / 30) if window_s is None else window_s
    edges = np.arange(0, end_s + window_s, window_s)
    got: dict[str, Any] = {}
    for record in done:
        mine = got.setdefault(record.client, np.zeros(len(edges) - 1))
        mine += _spread(record, edges) / record.weight / window_s
    largest = sorted(got, key=lambda name: -float(got[name].sum()))
    figure, axes = _axes("time (s)", "service (tokens, output twice, per s)")
    middles = (edges[:-1] + edges[1:]) / 2
    for number, name in enumerate(sorted(largest[:MOST_TENANTS], key=_natural)):
        axes.plot(middles, got[name], label=name, **_look(number))
    if len(largest) > MOST_TENANTS:
        rest = sum(got[name] for name in largest[MOST_TENANTS:])
        axes.plot(middles, rest, label=f"{len(largest) - MOST_TENANTS} others", **_look(MOST_TENANTS))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def ttft_by_tenant(runs: Mapping[str, Sequence[JobRecord]]) -> Figure:
    """Mean time to the first token of each tenant, a bar for each run; of many tenants those with most jobs."""
    counts = Counter(record.client for records in runs.values() for record in records)
    tenants = sorted((name for name, _ in counts.most_common(MOST_BARS)), key=_natural)
    chosen = f"the {MOST_BARS} of {len(counts)} tenants with most jobs" if len(counts) > MOST_BARS else ""
    figure, axes = _axes(chosen, "mean time to first token (s)")
    width = 0.8 / max(1, len(runs))
    for number, (name, records) in enumerate(runs.items()):
        waits: dict[str, list[float]] = {}
        for record in records:
            if record.first_token_s is not None:
                waits.setdefault(record.client, []).append(record.first_token_s - record.arrived_s)
        means = [float(np.mean(waits[tenant])) if tenant in waits else 0.0 for tenant in tenants]
        places = np.arange(len(tenants)) + (number - (len(runs) - 1) / 2) * width
        axes.bar(places, means, width, label=name, color=COLOURS[number % len(COLOURS)])
    axes.set_xticks(range(len(tenants)), tenants, rotation=45, ha="right", fontsize="small")
    axes.grid(visible=False, axis="x")
    _legend(axes)
    return figure


def gap_over_time(series: Mapping[str, Curve], *, bound: float | None = None) -> Figure:
    """The largest drift between two backlogged tenants, over time, of each policy; `bound` as a level."""
    figure, axes = _axes("time (s)", "service gap (tokens, output twice)")
    for number, (name, points) in enumerate(series.items()):
        axes.plot(*_columns(points), label=name, **_look(number))
    if bound is not None:
        axes.axhline(bound, color="#999999", linewidth=0.8, linestyle=":", label="bound")
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def ttft_distribution(runs: Mapping[str, Sequence[JobRecord]]) -> Figure:
    """The share of all jobs that have their first token after so many seconds; below 1 where some never got one."""
    figure, axes = _axes("time to first token (s)", "share of jobs")
    for number, (name, records) in enumerate(runs.items()):
        times = sorted(r.first_token_s - r.arrived_s for r in records if r.first_token_s is not None)
        shares = np.arange(1, len(times) + 1) / max(1, len(records))
        axes.step(np.maximum(times, 0.01), shares, where="post", label=name, **_look(number))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_ylim(0, 1.03)
    _legend(axes)
    return figure


def qoe_distribution(runs: Mapping[str, Sequence[JobRecord]]) -> Figure:
    """The share of all jobs that have at least so good a QoE: who is high up to the right serves more readers well."""
    figure, axes = _axes("QoE", "share of jobs with at least that")
    for number, (name, records) in enumerate(runs.items()):
        values = sorted((record.qoe for record in records), reverse=True)
        shares = np.arange(1, len(values) + 1) / max(1, len(values))
        axes.step([1.0, *values, 0.0], [0.0, *shares, 1.0], where="post", label=name, **_look(number))
    axes.set_xlim(0, 1.0)
    axes.set_ylim(0, 1.03)
    _legend(axes)
    return figure


def job_timeline(
    pace: Pace, deliveries: Sequence[Delivery], *, away: Away = (), pauses: Sequence[tuple[float, float]] = ()
) -> Figure:
    """One job since its arrival: units due, delivered and read; `pauses` are shaded, so is the time away."""
    figure, axes = _axes("time since arrival (s)", f"{pace.unit}s")
    total = sum(delivery.units for delivery in deliveries)
    due = [(pace.ttft_s, 0.0), (pace.ttft_s + total / pace.rate, total)]
    shown = [point for each in _read(pace, deliveries, away) for point in each]
    end_s = max([due[-1][0], *(at for at, _ in shown)])
    arrived = np.cumsum([delivery.units for delivery in deliveries])
    axes.plot(*_columns(due), label="due", **_look(7))
    times = [0.0, *(delivery.at_s for delivery in deliveries), end_s]
    axes.step(times, [0.0, *arrived, total], where="post", label="delivered", **_look(0))
    axes.plot(*_columns(shown), label="read", **_look(1))
    for name, spans, colour in (("paused", pauses, "#E69F00"), ("away", away, "#999999")):
        for number, (left, back) in enumerate(spans):
            axes.axvspan(left, min(back, end_s), color=colour, alpha=0.2, label=None if number else name, linewidth=0)
    axes.set_xlim(0, end_s * 1.02)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """As SVG, PNG or PDF by the name's ending; the same figure gives the same SVG."""
    with mpl.rc_context(_SVG):
        figure.savefig(path, dpi=150, metadata={"Date": None} if Path(path).suffix == ".svg" else None)


def svg(figure: Figure) -> str:
    """The figure as the text of an SVG file."""
    buffer = io.StringIO()
    with mpl.rc_context(_SVG):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


_SVG: Final[dict[Any, Any]] = {"svg.hashsalt": "andante", "svg.fonttype": "path"}


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
        "linewidth": 1.4,
    }


def _legend(axes: Axes) -> None:
    """Beside the lines and never over them; none where nothing is named."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")


def _natural(name: str) -> list[tuple[str, int]]:
    """As people sort: m2 before m12."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name)]


def _columns(points: Curve) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _spread(record: JobRecord, edges: Any) -> Any:
    """Service of one job in each window."""
    first, last = record.first_token_s or 0.0, record.last_token_s or 0.0
    cumulated = np.clip((edges - first) / max(last - first, 1e-9), 0.0, 1.0) * OUTPUT_WEIGHT * record.produced
    cumulated += (edges > first) * INPUT_WEIGHT * record.input_tokens
    return np.diff(cumulated)


def _read(pace: Pace, deliveries: Sequence[Delivery], away: Away) -> list[list[tuple[float, float]]]:
    """What was read, as corners of a line in time since arrival: flat while there is nothing to read or nobody."""
    corners, before = [], 0.0
    for begin, units in shown_times(pace, deliveries, away):
        end = begin + units / pace.rate if pace.paced else begin
        corners.append([(_wall(begin, away), before), (_wall(end, away), before + units)])
        before += units
    return corners


def _wall(reader_s: float, away: Away) -> float:
    """Time since arrival at which the reader's clock shows `reader_s`: the later moment where it stood still."""
    at = reader_s
    for left, back in away:
        if left < at:
            at += back - left
    return at
