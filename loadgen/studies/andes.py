"""The sweeps of the Andes paper (arXiv 2404.16283v2, figures 15 to 19), FCFS and others beside it.

Cyclic bursts of 1200 s, ShareGPT lengths, readers of the reading population. The mean rate is the highest Poisson rate
at which FCFS has an average QoE of 0.95. Requests are of 20 tenants in turn. To be done within the hour, the
study serves a quarter of the load with a quarter of the engine (seats, memory and prefill speed; a sequence costs four
times as much); `--quick` an eighth, at fewer points. Prompts take as many times longer to compute as there are parts.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

from gateway.core.policies import POLICIES, PolicyRule
from gateway.core.policies.andes import Andes
from gateway.core.tuning import Tuning
from gateway.emulator.blocks import BLOCK_TOKENS
from gateway.emulator.profiles import PROFILES, Profile
from loadgen import plot
from loadgen.measures import summarise
from loadgen.scenarios import Parameter, load_scenario
from loadgen.simulator.oracles import ORACLES
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.studies.table import Cell, Table
from loadgen.workload import Workload

GOAL: Final = 0.95
TENANTS: Final = 20
INTENSITIES: Final = (1.0, 1.2, 1.6, 2.0, 2.4, 2.8)
SHARES: Final = (0.25, 0.3, 0.35, 0.4, 0.45)
V1_RATES: Final = (1.27, 3.3)
HORIZONS_S: Final = (5.0, 10.0, 20.0, 30.0, 50.0, 70.0, 110.0)
POLICY_NAMES: Final = ("fcfs", "andes", "fair_qoe", "lqsf", "round_robin")
COLUMNS: Final = (
    "policy",
    "avg QoE",
    "times FCFS",
    "p10 QoE",
    "share >= 0.95",
    "TTFT p50 s",
    "TTFT p90 s",
    "pauses a job",
    "throughput loss %",
    "worst stall s",
)

Figures = dict[str, Any]

VARIANTS: Final[dict[str, PolicyRule]] = {
    "no refiner": PolicyRule(partial(Andes, refines=False)),
    "no cap": PolicyRule(partial(Andes, capped=False)),
    "neither": PolicyRule(partial(Andes, refines=False, capped=False)),
    "andes_dp": ORACLES["andes_dp"],
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One engine, of which `parts` equal parts are made, of which one is used with as small a part of the load."""

    profile: Profile
    parts: int
    seed: int
    tick_s: float = 0.25
    lengths: str = "sharegpt"

    def poisson(self, rate: float, duration_s: float = 1200.0) -> Workload:
        """Steady arrivals: a burst of the mean's intensity."""
        return self.burst(rate, 1.0, duration_s=duration_s)

    def burst(self, rate: float, intensity: float, share: float = 0.35, duration_s: float = 1200.0) -> Workload:
        """Cycles whose mean is `rate` requests per second for the whole engine."""
        values: dict[str, Parameter] = {"rate": rate / self.parts, "intensity": intensity, "share": share}
        values |= {"duration_s": duration_s, "lengths": self.lengths}
        return shared_out(load_scenario("andes_burst", overrides=values, seed=self.seed))

    def serve(self, workload: Workload, rule: PolicyRule, horizon_s: float = 10.0) -> Figures:
        """The figures of one run."""
        tuning = Tuning(tick_s=self.tick_s, horizon_s=horizon_s)
        done = World(workload, Setup((one_part(self.profile, self.parts),), rule, tuning)).run()
        return summarise([job.record() for job in done.jobs])


def shared_out(workload: Workload) -> Workload:
    """The same requests, each with its own pace, of a fixed number of tenants in turn."""
    requests = (replace(request, client=f"tenant{request.index % TENANTS}") for request in workload.requests)
    return Workload(workload.name, tuple(requests))


def one_part(profile: Profile, parts: int) -> Profile:
    """An engine with one part in so many of the seats, memory and speed; an iteration's fixed cost stays."""
    if parts == 1:
        return profile
    return replace(
        profile,
        b_s=profile.b_s * parts,
        c_s=profile.c_s * parts,
        prefill_tokens_per_s=profile.prefill_tokens_per_s / parts,
        kv_tokens=profile.kv_tokens // parts,
        max_num_seqs=profile.max_num_seqs // parts,
        max_batched_tokens=profile.max_batched_tokens // parts,
        max_model_len=min(profile.max_model_len, profile.kv_tokens // parts // 16 * 16),
    )


def highest(holds: Callable[[float], bool], low: float, high: float, steps: int) -> float:
    """By bisection the highest value at which it holds; `low` if it never does."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def crossing(points: Sequence[tuple[float, float]], goal: float = GOAL) -> float | None:
    """Where a falling curve of (load, QoE) passes the goal, linear between points.

    The last load if it never does, None if it begins below.
    """
    if not points or points[0][1] < goal:
        return None
    for (before, above), (load, quality) in pairwise(points):
        if quality < goal:
            return before + (load - before) * (above - goal) / (above - quality)
    return points[-1][0]


def row(name: str, found: Figures, fcfs: Figures) -> list[Cell]:
    """One policy's cells, beside FCFS on the same workload."""
    loss = 100 * (1 - found["throughput_tok_s"] / fcfs["throughput_tok_s"])
    names = ("p10_qoe", "perfect_share", "ttft_p50_s", "ttft_p90_s", "preemptions_per_job")
    ratio = found["avg_qoe"] / fcfs["avg_qoe"]
    return [name, found["avg_qoe"], ratio, *(found[key] for key in names), loss, found["worst_stall_after_pause_s"]]


def mean_rate(bench: Bench, high: float, steps: int, duration_s: float = 1200.0) -> float:
    """Requests per second that FCFS just sustains, over so long."""

    def sustains(rate: float) -> bool:
        return bool(bench.serve(bench.poisson(rate, duration_s), POLICIES["fcfs"])["avg_qoe"] >= GOAL)

    return highest(sustains, 0.0, high, steps)


def sweep(
    bench: Bench, workloads: Iterable[tuple[float, Workload]], rules: dict[str, PolicyRule]
) -> tuple[list[list[Cell]], dict[str, list[tuple[float, float]]]]:
    """Rows of a table, each with the value that varies in front, and the curves of average QoE."""
    rows: list[list[Cell]] = []
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in ("fcfs", *rules)}
    for value, workload in workloads:
        fcfs = bench.serve(workload, POLICIES["fcfs"])
        for name, curve in curves.items():
            found = fcfs if name == "fcfs" else bench.serve(workload, rules[name])
            rows.append([value, *row(name, found, fcfs)])
            sys.stderr.write(f"{value:g} {name}: {found['avg_qoe']:.3f}\n")
            curve.append((value, found["avg_qoe"]))
    return rows, curves


def sustained(curves: dict[str, list[tuple[float, float]]]) -> Table:
    """Up to which burst intensity the goal holds."""
    rows = [[name, crossing(points)] for name, points in curves.items()]
    note = "Linear between the points of the sweep; '-': not even without a burst."
    return Table(f"Burst intensity sustained at average QoE {GOAL}", ("policy", "intensity"), rows, note)


def first_version(bench: Bench) -> Table:
    """The point of v1's table, OPT-66B on ShareGPT: at its rate, and where FCFS's median first token is as late."""
    point = replace(bench, profile=PROFILES["a100x4-66b"], parts=1)
    values = {rate: load_scenario("andes_v1", overrides={"rate": rate}, seed=bench.seed) for rate in V1_RATES}
    workloads = ((rate, shared_out(workload)) for rate, workload in values.items())
    rows, _ = sweep(point, workloads, {"andes": POLICIES["andes"]})
    note = "The paper, at second hand, at 3.3/s: 10th percentile 0.05 to 0.77, median first token 56.73 s to 0.47 s."
    return Table("OPT-66B on four A100, Poisson", ("requests/s", *COLUMNS), rows, note)


def others(bench: Bench) -> list[Table]:
    """The same cycles on an engine short of memory, and on a small model."""
    moe, small = PROFILES["a100x8-moe"], PROFILES["h100-8b"]
    engines = {
        "a100x8-moe with 24,377 KV blocks": replace(bench, profile=replace(moe, kv_tokens=24_377 * BLOCK_TOKENS)),
        "h100-8b": replace(bench, profile=small, parts=2 * bench.parts),
    }
    tables = []
    for name, engine in engines.items():
        rate = mean_rate(engine, 20.0, 8)
        bursts = ((h, engine.burst(rate, h)) for h in (1.0, 2.0, 2.8))
        rows, _ = sweep(engine, bursts, {"andes": POLICIES["andes"]})
        tables.append(Table(f"{name}, mean {rate:.3g} requests/s", ("intensity", *COLUMNS), rows))
    return tables


def run(args: argparse.Namespace) -> list[Table]:
    """The tables of the intensity, duration, ablation, objective and horizon sweeps."""
    bench = Bench(PROFILES["a100x8-moe"], 8 if args.quick else 4, args.seed)
    rate = mean_rate(bench, 6.0, 4 if args.quick else 7)
    intensities, shares, horizons = ((1.0, 2.0), (0.35,), (10.0,)) if args.quick else (INTENSITIES, SHARES, HORIZONS_S)
    named = {name: POLICIES[name] for name in POLICY_NAMES[1:]}
    rows, curves = sweep(bench, ((h, bench.burst(rate, h)) for h in intensities), named)
    tables = [
        Table(f"Burst intensity, mean {rate:.3g} requests/s", ("intensity", *COLUMNS), rows),
        sustained(curves),
    ]
    if args.out is not None:
        plot.save(plot.qoe_against_load(curves, load="burst intensity"), args.out / "andes-intensity.svg")
    only = {"andes": POLICIES["andes"]}
    rows, _ = sweep(bench, ((w, bench.burst(rate, 2.0, w)) for w in shares), only)
    tables.append(Table("Share of the cycle that is burst, intensity 2", ("share", *COLUMNS), rows))
    tables.append(_variants(bench, rate, shares))
    tables.append(_horizons(bench, rate, horizons))
    if not args.quick:
        tables += [first_version(bench), *others(bench)]
    return tables


def _variants(bench: Bench, rate: float, shares: Sequence[float]) -> Table:
    """Ablations and objectives, over the length of the burst."""
    objectives = {name: POLICIES[name] for name in ("andes", "andes_min", "andes_perfect")}
    rows, _ = sweep(bench, ((w, bench.burst(rate, 2.0, w)) for w in shares[::2]), {**objectives, **VARIANTS})
    note = "no refiner: what a preemption costs is ignored; no cap: pauses are not limited on average."
    return Table("Ablations and objectives, intensity 2", ("share", *COLUMNS), rows, note)


def _horizons(bench: Bench, rate: float, horizons: Sequence[float]) -> Table:
    workload = bench.burst(rate, 2.0)
    fcfs = bench.serve(workload, POLICIES["fcfs"])
    rows = [[each, *row("andes", bench.serve(workload, POLICIES["andes"], each), fcfs)] for each in horizons]
    return Table("Horizon of the gain, intensity 2", ("horizon s", *COLUMNS), rows)
