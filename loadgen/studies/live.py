"""Policies side by side over the network: real gateways before emulated engines, beside the simulator's word.

All policies serve the same workload at the same time, each by a gateway and an engine of its own, from one generator:
what else the machine does meets all of them alike. The engines are slow enough for the machine not to be what limits.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES, Profile
from loadgen import attack, report
from loadgen.connections import clock
from loadgen.keys import made_keys
from loadgen.live_figures import Objectives, live_figures
from loadgen.live_job import Asking
from loadgen.loops import run_alone, run_loop
from loadgen.measures import summarise
from loadgen.outputs import prepare_folder
from loadgen.page import page
from loadgen.progress import Progress
from loadgen.records import JobRecord
from loadgen.scenarios import load_scenario
from loadgen.sender import Attack, Outcome, Sender
from loadgen.shared_attack import START_S
from loadgen.simulator.oracles import find_rule
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.studies.house import House, house
from loadgen.studies.table import Cell, Table, show
from loadgen.tables import side_by_side
from loadgen.traces import load_trace
from loadgen.workload import Workload

POLICIES: Final = ("fcfs", "vtc", "andes", "fair_qoe")
QUICK: Final = 0.1


@dataclass(frozen=True, slots=True)
class Case:
    """A workload by seed and by share of its time, and the engine that serves it."""

    title: str
    make: Callable[[int, float], Workload]
    profile: Profile


def _neighbour(seed: int, part: float) -> Workload:
    times = {"duration_s": 150 * part, "quiet_s": 30 * part, "noisy_s": 120 * part}
    return load_scenario("noisy_neighbour", seed=seed, overrides={**times, "noise": 3.0})


def _burst(seed: int, part: float) -> Workload:
    times = {"duration_s": 180 * part, "period_s": 90 * part}
    return load_scenario("chat_readers", seed=seed, overrides={**times, "rate": 1.3, "share": 0.12, "intensity": 6})


def _arena(seed: int, part: float) -> Workload:
    return load_trace("vtc_arena", seed=seed, duration_s=180 * part, rate_scale=1.2)


CASES: Final[Mapping[str, Case]] = MappingProxyType(
    {
        "neighbour": Case("noisy neighbour", _neighbour, PROFILES["a10g-7b"]),
        "burst": Case("burst", _burst, replace(PROFILES["a100x8-moe"], max_num_seqs=16)),
        "arena": Case("150 s of the Arena trace at 1.2 times its rate", _arena, PROFILES["a10g-7b"]),
    }
)

COLUMNS: Final = (
    ("avg_qoe", "average QoE"),
    ("others_qoe", "QoE without the busiest client"),
    ("ttft_p50_s", "TTFT p50 s"),
    ("ttft_p99_s", "p99"),
    ("avg_service_diff", "average service difference"),
    ("output_tok_s", "output tokens/s"),
)


def run_case(name: str, args: argparse.Namespace) -> Sequence[Table]:
    """One case: its table, and a page with the figures where --out says."""
    case = CASES[name]
    if args.out is not None:
        prepare_folder(args.out / f"live-{name}")
    workload = case.make(args.seed, QUICK if args.quick else 1.0)
    print(f"{case.title}: {len(workload.requests)} jobs for each of {', '.join(POLICIES)}", file=sys.stderr)
    simulated = {policy: _simulated(case, workload, policy) for policy in POLICIES}
    outcomes = over_the_network(case.profile, {policy: (policy, workload) for policy in POLICIES})
    records = {policy: outcome.records for policy, outcome in outcomes.items()}
    lived = {
        policy: _with_others(live_figures(outcome, Objectives()), outcome.records)
        for policy, outcome in outcomes.items()
    }
    if args.out is not None:
        figures = report.figures_of(lived, records)
        text = page(case.title, side_by_side(lived), figures, {"workload": workload.name, "seed": args.seed})
        (args.out / f"live-{name}.html").write_text(text, encoding="utf-8")
        report.write_figures(args.out / f"live-{name}", figures)
    return [_table(case, workload, lived, simulated)]


def run(args: argparse.Namespace) -> Sequence[Table]:
    """Every case, one after another."""
    return [table for name in CASES for table in run_case(name, args)]


def of(name: str) -> Callable[[argparse.Namespace], Sequence[Table]]:
    """The study of one case alone."""
    return partial(run_case, name)


def over_the_network(profile: Profile, runs: Mapping[str, tuple[str, Workload]]) -> dict[str, Outcome]:
    """What came of each run, a policy and a workload, by its name; all of them at the same time."""
    with ExitStack() as stack:
        attacks = {}
        for name, (policy, workload) in runs.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andante-live-")))
            each = stack.enter_context(house(folder, profile, policy))
            keys = stack.enter_context(made_keys(each.url, each.admin_key, workload))
            attacks[name] = attack.calibrated(_attack(each, workload, keys))
        return run_alone(_together(attacks))


def _attack(each: House, workload: Workload, keys: Mapping[str, str]) -> Attack:
    return Attack(each.url, Asking(each.model), workload.requests, dict(keys), timeout_s=3600.0)


async def _together(attacks: Mapping[str, Attack]) -> dict[str, Outcome]:
    start = clock() + START_S
    senders = {name: Sender(each, start) for name, each in attacks.items()}
    with Progress(senders):
        outcomes = await asyncio.gather(*(run_loop(sender) for sender in senders.values()))
    return dict(zip(senders, outcomes, strict=True))


def _simulated(case: Case, workload: Workload, policy: str) -> dict[str, Any]:
    setup = Setup((case.profile,), find_rule(policy), Tuning(assumed_output_tokens=0))
    served = World(workload, setup).run()
    records = served.records()
    return _with_others(summarise(records, served.gap.largest, served.plan_ms), records)


def _with_others(figures: Mapping[str, Any], records: Sequence[JobRecord]) -> dict[str, Any]:
    """With the average QoE of all clients but the one with most jobs; None where every client has one job."""
    clients = [record.client for record in records]
    busiest = max(set(clients), key=lambda name: (clients.count(name), name), default="")
    others = [record.qoe for record in records if record.client != busiest]
    known = bool(others) and clients.count(busiest) > 1
    return {**figures, "others_qoe": float(np.mean(others)) if known else None}


def _table(
    case: Case, workload: Workload, lived: Mapping[str, Mapping[str, Any]], simulated: Mapping[str, Mapping[str, Any]]
) -> Table:
    """A row per policy; each cell has what was seen over the network and, behind the stroke, in the simulator."""
    rows: list[list[Cell]] = []
    for policy in POLICIES:
        pairs = [(lived[policy].get(key), simulated[policy].get(key)) for key, _ in COLUMNS]
        rows.append([policy, *(" / ".join(map(show, pair)) for pair in pairs)])
    lags = [figures["lag_p99_ms"] for figures in lived.values()]
    cpu = max(figures["generator_cpu_share"] for figures in lived.values())
    head = ["policy", *(label for _, label in COLUMNS)]
    bad = sum(count for figures in lived.values() for count in figures["errors"].values())
    engine = f"{case.profile.name}, {case.profile.max_num_seqs} seats"
    sent = f"99 % of the requests went out within {max(lags):.0f} ms of their time"
    note = f"{bad} errors. {sent}; the generator used {cpu:.0%} of a core."
    return Table(f"{case.title}: {len(workload.requests)} jobs on one {engine}, live / simulated", head, rows, note)
