"""Where the gain of Andes is large: the sweeps on engines with room for few answers, and with other lengths of answers.

The fewer places, the less of what an engine can make FCFS can use before somebody waits too long behind a long answer;
a policy that swaps places uses nearly all of it. The shorter an answer, the less of its QoE is left when it comes late.
Five cycles of 1200 s where there are few places, since they carry few requests.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.core.policies import POLICIES
from gateway.emulator.profiles import PROFILES
from loadgen.studies.andes import GOAL, INTENSITIES, SHARES, Bench, Figures, crossing, mean_rate
from loadgen.studies.table import Cell, Table

SEATS: Final = (1, 2, 4)
LENGTHS: Final = ("servegen_m-large_median_10min", "vtc_arena", "azure_conv_2023", "sharegpt")
CYCLES_S: Final = 5 * 1200.0
RULES: Final = ("andes", "fair_qoe")
COLUMNS: Final = (
    *(f"{name}, intensity at {GOAL}" for name in ("fcfs", *RULES)),
    *(f"{name}, QoE over FCFS at most" for name in RULES),
    "with bursts of any length",
    "andes, pauses a job at most",
    "andes, throughput lost at most %",
)
HIGHEST_RATE: Final = 0.6  # requests a second for each place; more than a place can serve
LARGEST: Final = 40.0  # requests a second for a whole engine
_PARTS: Final = 8  # of the whole engine, one of which is served


@dataclass(frozen=True, slots=True)
class Sweep:
    """One engine with one kind of answers, under cycles of so many seconds."""

    bench: Bench
    cycles_s: float
    highest_rate: float

    def cells(self, *, quick: bool) -> list[Cell]:
        """The mean rate that FCFS sustains, then COLUMNS."""
        rate = mean_rate(self.bench, self.highest_rate, 4 if quick else 8, self.cycles_s)
        intensities, shares = ((1.0, 2.0), ()) if quick else (INTENSITIES, SHARES)
        served = {each: self._serve(rate, each, 0.35, ("fcfs", *RULES)) for each in intensities}
        lasting = [self._serve(rate, 2.0, share, ("fcfs", "andes")) for share in shares]
        curves = {name: [(each, found[name]["avg_qoe"]) for each, found in served.items()] for name in ("fcfs", *RULES)}
        sustained: list[Cell] = [_reach(points) for points in curves.values()]
        most: list[Cell] = [max(_times_fcfs(found, name) for found in served.values()) for name in RULES]
        longest = max((_times_fcfs(found, "andes") for found in lasting), default=None)
        everything = [*served.values(), *lasting]
        pauses = max(found["andes"]["preemptions_per_job"] for found in everything)
        return [rate, *sustained, *most, longest, pauses, 100 * max(map(_lost, everything))]

    def _serve(self, rate: float, intensity: float, share: float, names: Sequence[str]) -> dict[str, Figures]:
        workload = self.bench.burst(rate, intensity, share, self.cycles_s)
        return {name: self.bench.serve(workload, POLICIES[name]) for name in names}


def _reach(points: Sequence[tuple[float, float]]) -> Cell:
    """Up to which intensity the goal holds."""
    last, quality = points[-1]
    return f"{last:g} or more" if quality >= GOAL else crossing(points)


def _times_fcfs(found: dict[str, Figures], name: str) -> float:
    return float(found[name]["avg_qoe"] / found["fcfs"]["avg_qoe"])


def _lost(found: dict[str, Figures]) -> float:
    """The part of FCFS's throughput that Andes does not have."""
    return float(1 - found["andes"]["throughput_tok_s"] / found["fcfs"]["throughput_tok_s"])


def _shown(kind: str, places: str, sweep: Sweep, *, quick: bool) -> list[Cell]:
    row = [kind, places, *sweep.cells(quick=quick)]
    print(*row, sep=" | ", file=sys.stderr, flush=True)
    return row


def run(args: argparse.Namespace) -> Sequence[Table]:
    """One row for each engine and table of lengths."""
    quick: bool = args.quick
    profile, lengths = PROFILES["a100x8-moe"], LENGTHS[:1] if quick else LENGTHS
    rows: list[list[Cell]] = []
    for kind in lengths:
        for seats in SEATS[-1:] if quick else SEATS:
            bench = Bench(replace(profile, max_num_seqs=seats), 1, args.seed, lengths=kind)
            few = Sweep(bench, 1200.0 if quick else CYCLES_S, HIGHEST_RATE * seats)
            rows.append(_shown(kind, str(seats), few, quick=quick))
        if not quick:
            whole = Sweep(Bench(profile, _PARTS, args.seed, lengths=kind), 1200.0, LARGEST)
            rows.append(_shown(kind, f"1/{_PARTS} of it", whole, quick=False))
    note = "Mean rate: the highest at which FCFS has the goal. Intensities are linear between the points of the sweep."
    head = ("lengths", "places", "requests/s", *COLUMNS)
    return [Table("Andes' bursts on `a100x8-moe` by places and lengths of answers", head, rows, note)]
