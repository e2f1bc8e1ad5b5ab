"""How many readers one engine carries, over the network: the same bursts at several loads, all at the same time.

Each load of each policy has a gateway and an emulated engine of its own. Where a curve crosses an average QoE of 0.95
is taken from the straight line between its points; the simulator's figure stands beside each point.
"""

import argparse
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES
from loadgen.live_figures import Objectives, live_figures
from loadgen.plot import qoe_against_load, save
from loadgen.saturate import simulated
from loadgen.saturation import readers
from loadgen.sender import Outcome
from loadgen.simulator.oracles import find_rule
from loadgen.simulator.setup import Setup
from loadgen.studies.live import over_the_network
from loadgen.studies.readers import Load
from loadgen.studies.table import Cell, Table
from loadgen.workload import Workload

GOAL: Final = 0.95
PROFILE: Final = replace(PROFILES["a100x8-moe"], max_num_seqs=16)
LOAD: Final = Load("a tenth of the time 8 times the mean", 0.1, 8.0)
DURATION_S: Final = 120
QUICK_S: Final = 12
SCALES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {"fcfs": (0.5, 0.65, 0.8), "fair_qoe": (0.9, 1.05, 1.2)}
)
"""Requests a second on average, around where the simulator says that the goal is missed."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: who served it, and what it was."""

    policy: str
    workload: Workload

    @property
    def name(self) -> str:
        return f"{self.policy} at {readers(self.workload):.0f}"


def run(args: argparse.Namespace) -> Sequence[Table]:
    """The points as a table, the crossings in its note; with --out the curves as a figure."""
    duration_s = QUICK_S if args.quick else DURATION_S
    points = [
        Point(policy, LOAD.workload(duration_s, args.seed, scale))
        for policy, scales in SCALES.items()
        for scale in scales
    ]
    outcomes = over_the_network(PROFILE, {point.name: (point.policy, point.workload) for point in points})
    rows = [_row(point, outcomes[point.name]) for point in points]
    curves = {
        f"{policy}, {kind}": [(float(row[1] or 0), float(row[column] or 0)) for row in rows if row[0] == policy]
        for policy in SCALES
        for kind, column in (("live", 2), ("simulated", 3))
    }
    if args.out is not None:
        for ending in ("svg", "png"):
            save(qoe_against_load(curves, goal=GOAL), args.out / f"live-readers.{ending}")
    head = ["policy", "readers at once", "average QoE", "simulated", "TTFT p99 s", "requests late by, p99 ms"]
    found = "; ".join(f"{name}: {_shown(crossing(curve, GOAL))}" for name, curve in curves.items())
    note = f"Readers at once where the average QoE is {GOAL}: {found}."
    return [Table(f"{LOAD.words}, one {PROFILE.name} with {PROFILE.max_num_seqs} seats", head, rows, note)]


def _row(point: Point, outcome: Outcome) -> list[Cell]:
    figures = live_figures(outcome, Objectives())
    setup = Setup((PROFILE,), find_rule(point.policy), Tuning(assumed_output_tokens=0))
    virtual = simulated(setup, point.workload)
    if outcome.bottleneck is not None:
        print(f"{point.name}: {outcome.bottleneck}", file=sys.stderr)
    seen = (figures["avg_qoe"], virtual["avg_qoe"], figures["ttft_p99_s"], figures["lag_p99_ms"])
    return [point.policy, readers(point.workload), *seen]


def crossing(curve: Sequence[tuple[float, float]], goal: float) -> float | None:
    """Where a curve first falls through the goal; None where it does not."""
    for (low, before), (high, after) in itertools.pairwise(sorted(curve)):
        if before >= goal > after:
            return low + (high - low) * (before - goal) / (before - after)
    return None


def _shown(crossed: float | None) -> str:
    return "not among these loads" if crossed is None else f"{crossed:.0f}"
