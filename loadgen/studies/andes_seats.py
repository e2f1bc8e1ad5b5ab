"""Where the gain of Andes is large: the intensity sweep on engines with room for few answers at a time.

The fewer places, the less of what an engine can make FCFS can use before somebody waits too long behind a long answer;
a policy that swaps places uses nearly all of it. Five cycles of 1200 s, since few places carry few requests.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.core.policies import POLICIES
from gateway.emulator.profiles import PROFILES
from loadgen.studies.andes import GOAL, Bench, crossing, mean_rate, sweep
from loadgen.studies.table import Cell, Table

SEATS: Final = (1, 2, 4)
INTENSITIES: Final = (1.0, 1.2, 1.4, 1.6, 2.0, 2.4, 2.8)
CYCLES_S: Final = 5 * 1200.0
RULES: Final = ("andes", "fair_qoe")
HIGHEST_RATE: Final = 0.4  # requests a second for each place; more than a place can serve


def run(args: argparse.Namespace) -> Sequence[Table]:
    """One row for each number of places: what FCFS sustains, what the others do, and the largest ratio of QoE."""
    seats = SEATS[-1:] if args.quick else SEATS
    head = ("places", "requests/s", *(f"{name}, intensity at {GOAL}" for name in ("fcfs", *RULES)))
    rows = [_row(count, args.seed, args.quick) for count in seats]
    columns = (*head, *(f"{name}, QoE over FCFS at most" for name in RULES))
    note = "Mean rate: the highest at which FCFS has the goal. Intensities are linear between the points of the sweep."
    return [Table("Andes' bursts on `a100x8-moe` with few places", columns, rows, note)]


def _row(seats: int, seed: int, quick: bool) -> list[Cell]:
    profile = replace(PROFILES["a100x8-moe"], max_num_seqs=seats)
    bench = Bench(profile, 1, seed)
    cycles_s = 1200.0 if quick else CYCLES_S
    rate = mean_rate(bench, HIGHEST_RATE * seats, 4 if quick else 7, cycles_s)
    intensities = (1.0, 2.0) if quick else INTENSITIES
    workloads = ((each, bench.burst(rate, each, duration_s=cycles_s)) for each in intensities)
    _, curves = sweep(bench, workloads, {name: POLICIES[name] for name in RULES})
    sustained: list[Cell] = [crossing(points) for points in curves.values()]
    most: list[Cell] = [
        max(found / fcfs for (_, found), (_, fcfs) in zip(curves[name], curves["fcfs"], strict=True)) for name in RULES
    ]
    return [seats, rate, *sustained, *most]
