"""How a fleet behaves as it grows: engines, gateways, tenants and jobs in step, so that the load of each engine stays.

The servegen trace is made of 39 clients, and is about what four `h100-8b` serve. A fleet of 4 n engines gets n copies
of it, each with clients of its own and begun at another place of the ten minutes, so that bursts do not coincide.
Requests are made as they come and records are summed up as they end: memory does not grow with the number of jobs.
"""

import argparse
import json
import resource
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from heapq import merge
from itertools import islice
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from gateway.core.policies import find_policy
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES
from loadgen.measures import percentile
from loadgen.plot import qoe_against_load, save
from loadgen.simulator.job import SimJob
from loadgen.simulator.setup import Run, Setup
from loadgen.simulator.sharing import Traffic
from loadgen.simulator.world import World
from loadgen.studies.table import Cell, Table
from loadgen.traces import load_trace
from loadgen.workload import Request

TRACE: Final = "servegen_m-large_median_10min"
TRACE_S: Final = 600.0
ENGINES_A_COPY: Final = 4
POLICIES: Final = ("fair_qoe", "fcfs")
STALENESS_S: Final = 0.2
SETTLED_S: Final = 0.2  # half as often as live gateways look at their legs and exchange: both cost most here
_TOLD_EVERY: Final = 2_500


@dataclass(frozen=True, slots=True)
class Size:
    """A fleet and its load: `load` times the trace's rate for every four engines; `staleness_s` between exchanges."""

    engines: int
    gateways: int
    jobs: int
    load: float
    staleness_s: float = STALENESS_S


CALM: Final = 1.05
BUSY: Final = 1.15
SIZES: Final = (
    Size(4, 1, 15_625, CALM),
    Size(16, 2, 62_500, CALM),
    Size(64, 8, 250_000, CALM),
    Size(4, 1, 7_812, BUSY),
    Size(16, 2, 31_250, BUSY),
    Size(64, 8, 125_000, BUSY),
    Size(256, 32, 1_000_000, CALM, 1.0),
)
QUICK: Final = (Size(4, 1, 600, CALM), Size(8, 2, 1_200, CALM))


class Copies:
    """So many copies of the trace beside each other, `jobs` requests in all, made while they are read."""

    def __init__(self, size: Size, seed: int) -> None:
        self._copies = max(1, size.engines // ENGINES_A_COPY)
        self._jobs = size.jobs
        self._trace = load_trace(TRACE, rate_scale=size.load, seed=seed).requests
        self._span_s = TRACE_S / size.load

    @property
    def requests(self) -> Iterator[Request]:
        """In order of arrival, from the beginning."""
        together = merge(*map(self._copy, range(self._copies)), key=attrgetter("arrived_s"))
        return (replace(each, index=index) for index, each in enumerate(islice(together, self._jobs)))

    def _copy(self, number: int) -> Iterator[Request]:
        """One copy, for ever: from its own place in the trace on, and around."""
        trace, span_s = self._trace, self._span_s
        shift_s = span_s * number / self._copies
        first = next((at for at, request in enumerate(trace) if request.arrived_s >= shift_s), 0)
        rounds = 0
        while True:
            for request in islice(trace, first, None):
                at = request.arrived_s + rounds * span_s - shift_s
                yield replace(request, arrived_s=at, client=f"{request.client}.{number}")
            first, rounds = 0, rounds + 1


@dataclass(slots=True)
class Sums:
    """What is kept of jobs that have ended: eight bytes a figure."""

    qoe: "array[float]" = field(default_factory=lambda: array("d"))
    ttft_s: "array[float]" = field(default_factory=lambda: array("d"))
    clients: set[str] = field(default_factory=set)
    pauses: int = 0
    worst_stall_s: float = 0.0
    tokens: int = 0

    def take(self, job: SimJob) -> None:
        """One more."""
        record = job.record()
        self.qoe.append(record.qoe)
        self.clients.add(record.client)
        if record.first_token_s is not None:
            self.ttft_s.append(record.first_token_s - record.arrived_s)
        self.pauses += record.pauses or 0
        self.worst_stall_s = max(self.worst_stall_s, record.stall_after_pause_s or 0.0)
        self.tokens += record.produced


def serve(size: Size, policy: str, seed: int) -> dict[str, Any]:
    """One size under one policy, with progress on standard error; its figures."""
    sums, began, spent = Sums(), perf_counter(), process_time()

    def ended(job: SimJob) -> None:
        sums.take(job)
        if len(sums.qoe) % _TOLD_EVERY == 0:
            line = {"policy": policy, **asdict(size), **_figures(sums, world, size, process_time() - spent)}
            print(f"{perf_counter() - began:.0f} s", json.dumps(line), file=sys.stderr, flush=True)

    setup = Setup(
        (PROFILES["h100-8b"],) * size.engines,
        find_policy(policy),
        Tuning(assumed_output_tokens=0, tick_s=0.1),
        gateways=size.gateways,
        staleness_s=size.staleness_s,
        accounts_s=SETTLED_S,
        gap_every_s=SETTLED_S,
    )
    world = World(Copies(size, seed), setup, ended=ended)
    world.run()
    return _figures(sums, world, size, process_time() - spent)


def _figures(sums: Sums, world: World, size: Size, cpu_s: float) -> dict[str, Any]:
    """Those of the jobs that have ended so far."""
    run = world.run_
    return {
        **_of_readers(sums, run),
        **_of_plans(run, size.gateways),
        **_shared(world.traffic, size.gateways, run.ended_s),
        "simulated_s": run.ended_s,
        "cpu_s": cpu_s,
        "jobs_a_minute": 60 * len(sums.qoe) / cpu_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _of_readers(sums: Sums, run: Run) -> dict[str, Any]:
    qoe, ttft = np.array(sums.qoe), np.array(sums.ttft_s)  # copies: a buffer that is looked at cannot grow
    return {
        "tenants": len(sums.clients),
        "ended": len(qoe),
        "avg_qoe": float(qoe.mean()),
        "p10_qoe": percentile(qoe, 10),
        "ttft_p50_s": percentile(ttft, 50),
        "ttft_p90_s": percentile(ttft, 90),
        "ttft_p99_s": percentile(ttft, 99),
        "max_service_gap": run.gap.largest,
        "pauses_a_job": sums.pauses / len(qoe),
        "worst_stall_s": sums.worst_stall_s,
        "output_tok_s": sums.tokens / run.ended_s,
    }


def _of_plans(run: Run, gateways: int) -> dict[str, Any]:
    plans = np.array(run.plan_ms)
    return {
        "plan_ms_p50": percentile(plans, 50),
        "plan_ms_p99": percentile(plans, 99),
        "plans_a_gateway_s": len(plans) / run.ended_s / gateways,
    }


def _shared(traffic: Traffic, gateways: int, lasted_s: float) -> dict[str, float]:
    """What an exchange carries (bytes), and all of them a second: what one tells comes to all the others."""
    weighed = max(1, traffic.weighed)
    parts = {
        "request_bytes": traffic.request_bytes / weighed,
        "told_bytes": traffic.told_bytes / weighed,
        "answer_bytes": traffic.answer_bytes / weighed,
    }
    each = parts["request_bytes"] + gateways * parts["told_bytes"] + parts["answer_bytes"]
    return {
        "exchanges_s": traffic.exchanges / lasted_s,
        "deltas_s": traffic.deltas / lasted_s,
        **parts,
        "traffic_mb_s": each * traffic.exchanges / lasted_s / 1e6,
    }


COLUMNS: Final = (
    ("load", "load"),
    ("engines", "engines"),
    ("gateways", "gateways"),
    ("tenants", "tenants"),
    ("jobs", "jobs"),
    ("policy", "policy"),
    ("avg_qoe", "average QoE"),
    ("p10_qoe", "p10"),
    ("ttft_p50_s", "TTFT p50 s"),
    ("ttft_p99_s", "p99"),
    ("max_service_gap", "largest gap"),
    ("pauses_a_job", "pauses a job"),
    ("output_tok_s", "tokens/s"),
)
COSTS: Final = (
    ("load", "load"),
    ("engines", "engines"),
    ("gateways", "gateways"),
    ("staleness_s", "exchange every s"),
    ("policy", "policy"),
    ("plan_ms_p50", "plan ms p50"),
    ("plan_ms_p99", "p99"),
    ("plans_a_gateway_s", "plans a gateway and second"),
    ("exchanges_s", "exchanges/s"),
    ("deltas_s", "charges and lifts/s"),
    ("request_bytes", "bytes sent"),
    ("answer_bytes", "bytes answered"),
    ("traffic_mb_s", "MB/s in all"),
    ("simulated_s", "simulated s"),
    ("jobs_a_minute", "jobs a CPU minute"),
    ("peak_mib", "peak MiB"),
)


def run(args: argparse.Namespace) -> Sequence[Table]:
    """Every size under every policy, each in a process of its own so that its memory is its own.

    With --out each run is written down as it ends, and one that is written down is not made again.
    """
    notes = None if args.out is None else args.out / "fleet-runs.jsonl"
    found = [] if notes is None else _read(notes)
    for size in QUICK if args.quick else SIZES:
        for policy in POLICIES:
            key = {**asdict(size), "policy": policy, "seed": args.seed}
            if any(key.items() <= each.items() for each in found):
                continue
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                found.append({**alone.submit(serve, size, policy, args.seed).result(), **key})
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
            if notes is not None:
                notes.parent.mkdir(parents=True, exist_ok=True)
                with notes.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    if args.out is not None:
        save(drawn(found), args.out / "fleet.svg")
    return [_table("A fleet as it grows", COLUMNS, found), _table("What it costs to decide and to share", COSTS, found)]


def drawn(found: Sequence[Mapping[str, Any]]) -> Figure:
    """What one exchange is answered with, against the number of engines, and what a square would be."""
    calm = sorted((each["engines"], each["answer_bytes"] / 1e6) for each in found if each["load"] == CALM)
    lines: dict[str, list[tuple[float, float]]] = {"an exchange's answer": calm}
    if calm and calm[-1][1]:
        engines, most = calm[-1]
        lines["by the square"] = [(each, most * (each / engines) ** 2) for each, _ in calm]
    return qoe_against_load(lines, load="engines", measure="MB in an answer", goal=0.0)


def _read(notes: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()] if notes.exists() else []


def _table(title: str, columns: Sequence[tuple[str, str]], found: Sequence[Mapping[str, Any]]) -> Table:
    rows: list[list[Cell]] = [[each[key] for key, _ in columns] for each in found]
    return Table(title, [label for _, label in columns], rows)
