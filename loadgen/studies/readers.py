"""How many readers one engine carries under FCFS and under fair QoE, on a virtual clock: steady loads, and bursts.

The highest load with an average QoE of 0.95, by bisection, in people who read at once on average. What an engine makes
in all, over what a person reads, bounds it for every policy: on a steady load FCFS comes near that bound by itself.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES, Profile
from loadgen.plot import qoe_against_load, save
from loadgen.saturate import Search, simulated
from loadgen.saturation import Goal
from loadgen.scenarios import load_scenario
from loadgen.simulator.oracles import find_rule
from loadgen.simulator.setup import Setup
from loadgen.studies.table import Cell, Table
from loadgen.workload import Workload

POLICIES: Final = ("fcfs", "andes", "fair_qoe")
GOAL: Final = Goal.of("avg_qoe>=0.95")
DURATION_S: Final = 600
QUICK_S: Final = 120

ENGINES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "a100x8-moe, 16 seats": replace(PROFILES["a100x8-moe"], max_num_seqs=16),
        "a10g-7b": PROFILES["a10g-7b"],
    }
)


@dataclass(frozen=True, slots=True)
class Load:
    """How people come: `share` of every `period_s` at `intensity` times the mean."""

    words: str
    share: float = 0.5
    intensity: float = 1.0
    period_s: float = 120.0

    def workload(self, duration_s: float, seed: int, scale: float) -> Workload:
        """At `scale` requests a second on average."""
        shape: dict[str, Any] = {"share": self.share, "intensity": self.intensity, "period_s": self.period_s}
        shape["duration_s"] = duration_s
        return load_scenario("chat_readers", rate_scale=scale, seed=seed, overrides=shape)


LOADS: Final = (
    Load("steady"),
    Load("a quarter of the time 3 times the mean", 0.25, 3.0),
    Load("a tenth of the time 8 times the mean", 0.1, 8.0),
)


def run(args: argparse.Namespace) -> Sequence[Table]:
    """A table over engines and loads; with --out the curves of each as a figure."""
    rows: list[list[Cell]] = []
    for name, profile in ENGINES.items():
        for load in LOADS[-1:] if args.quick else LOADS:
            found = searched(profile, load, args)
            counts = [None if each.found.kept is None else each.readers[each.found.kept] for each in found.values()]
            first, last = counts[0], counts[-1]
            rows.append([name, load.words, *counts, None if not first or not last else last / first])
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            if args.out is not None:
                curves = {policy: [(at, y) for at, y in each.curve if y is not None] for policy, each in found.items()}
                shape = f"{profile.name}-{load.share:g}-{load.intensity:g}"
                for ending in ("svg", "png"):
                    save(qoe_against_load(curves), args.out / f"readers-{shape}.{ending}")
    head = ["engine", "load", *POLICIES, "fair_qoe over fcfs"]
    return [Table("Readers at once with an average QoE of 0.95, simulated", head, rows)]


def searched(profile: Profile, load: Load, args: argparse.Namespace) -> dict[str, Search]:
    """Each policy's search."""
    workload_at = partial(load.workload, QUICK_S if args.quick else DURATION_S, args.seed)
    found = {}
    for policy in POLICIES:
        setup = Setup((profile,), find_rule(policy), Tuning(assumed_output_tokens=0))
        found[policy] = Search(policy, GOAL, workload_at, partial(simulated, setup))
        found[policy].run(low=0.4, high=16.0, steps=2 if args.quick else 3)
    return found
