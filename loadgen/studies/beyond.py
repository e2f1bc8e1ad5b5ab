"""Fair QoE against its baselines, on real traces and bursts, at loads that FCFS carries well, badly and not at all.

Each workload is scaled until FCFS's average QoE is about 0.9, 0.6 and 0.3; then every policy serves the same jobs.
The arena's engine is small and short of memory, so that a resume is dear; the others keep most prefixes.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from gateway.core.policies import find_policy
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES
from loadgen.measures import summarise
from loadgen.scenarios import load_scenario
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.studies.table import Table
from loadgen.traces import load_trace
from loadgen.workload import Workload

POLICIES: Final = ("fcfs", "lqsf", "vtc", "andes", "fair_qoe")
GOALS: Final = (0.9, 0.6, 0.3)
TICK_S: Final = 0.1
SLACKS: Final = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 1e9)
_CLOSE: Final = 0.03
_STEPS: Final = 9


@dataclass(frozen=True, slots=True)
class Case:
    """A workload by rate scale and seed, on so many engines of a profile."""

    make: Callable[[float, int], Workload]
    profile: str
    engines: int = 1


def _trace(name: str, **piece: Any) -> Callable[[float, int], Workload]:
    return lambda scale, seed: load_trace(name, rate_scale=scale, seed=seed, **piece)


def _scenario(name: str, **overrides: Any) -> Callable[[float, int], Workload]:
    return lambda scale, seed: load_scenario(name, rate_scale=scale, seed=seed, overrides=overrides)


CASES: Final[Mapping[str, Case]] = MappingProxyType(
    {
        "arena": Case(_trace("vtc_arena"), "a10g-7b"),
        "azure_conv": Case(_trace("azure_conv_2023", duration_s=900.0), "h100-8b"),
        "servegen": Case(_trace("servegen_m-large_median_10min", clients_every=4, duration_s=300.0), "h100-8b"),
        "burst": Case(_scenario("andes_burst", period_s=600, duration_s=600), "a100x8-moe"),
        "flash_crowd": Case(_scenario("flash_crowd"), "h100-8b"),
    }
)

COLUMNS: Final = (
    ("avg_qoe", "average QoE"),
    ("p10_qoe", "p10 QoE"),
    ("perfect_share", "share >= 0.95"),
    ("ttft_p50_s", "TTFT p50 s"),
    ("ttft_p90_s", "p90"),
    ("ttft_p99_s", "p99"),
    ("max_service_gap", "largest gap"),
    ("worst_stall_after_pause_s", "worst stall s"),
    ("preemptions_per_job", "pauses a job"),
    ("throughput_tok_s", "tokens/s"),
)


def serve(case: Case, workload: Workload, policy: str, **tuning: Any) -> dict[str, Any]:
    """The figures of one policy."""
    steer = Tuning(**{"assumed_output_tokens": 0, "tick_s": TICK_S, **tuning})
    engines = (PROFILES[case.profile],) * case.engines
    run = World(workload, Setup(engines, find_policy(policy), steer)).run()
    return summarise(run.records(), run.gap.largest, run.plan_ms)


def scale_for(case: Case, goal: float, seed: int) -> tuple[float, float]:
    """The rate scale at which FCFS's average QoE is near the goal, and what it is there; by bisection in logarithm."""
    low, high = 0.1, 20.0
    best = (1.0, 2.0)
    for _ in range(_STEPS):
        scale = (low * high) ** 0.5
        seen = float(serve(case, case.make(scale, seed), "fcfs")["avg_qoe"])
        if abs(seen - goal) < abs(best[1] - goal):
            best = (scale, seen)
        if abs(seen - goal) < _CLOSE:
            break
        low, high = (scale, high) if seen > goal else (low, scale)
    return best


def run_beyond(args: argparse.Namespace) -> Sequence[Table]:
    """Every policy on every workload and load."""
    names = ["arena"] if args.quick else list(CASES)
    tables = []
    for name in names:
        case = CASES[name]
        rows: list[list[Any]] = []
        for goal in GOALS:
            scale, _ = scale_for(case, goal, args.seed)
            workload = case.make(scale, args.seed)
            for policy in POLICIES:
                found = serve(case, workload, policy)
                rows.append([f"x{scale:.3g}", policy, *(found[key] for key, _ in COLUMNS)])
                print(name, *rows[-1], file=sys.stderr, flush=True)
        head = ["load", "policy", *(label for _, label in COLUMNS)]
        engines = f"{case.engines} x {case.profile}"
        tables.append(Table(f"{name}, {engines}, {len(case.make(1.0, args.seed).requests)} jobs", head, rows))
    return tables


def run_slack(args: argparse.Namespace) -> Sequence[Table]:
    """The curve between fairness and QoE: the knob from strict turns to none."""
    tables = []
    for name in ("arena",) if args.quick else ("arena", "burst"):
        case = CASES[name]
        scale, seen = scale_for(case, 0.6, args.seed)
        workload = case.make(scale, args.seed)
        rows: list[list[Any]] = []
        for policy in ("vtc", "andes"):
            found = serve(case, workload, policy)
            rows.append([policy, *(found[key] for key, _ in COLUMNS)])
        for slack in SLACKS:
            found = serve(case, workload, "fair_qoe", slack_s=slack)
            rows.append([f"fair_qoe, {slack:g} s", *(found[key] for key, _ in COLUMNS)])
            print(name, *rows[-1], file=sys.stderr, flush=True)
        head = ["policy, slack", *(label for _, label in COLUMNS)]
        tables.append(Table(f"Slack on {name} at x{scale:.3g} (FCFS: {seen:.2f})", head, rows))
    return tables
