"""`python -m loadgen gateways`: one load on one, two, four gateways before the same emulated engines, beside the
simulator's prediction.

The gateways are the workers of `andante serve --workers`, over a Redis of their own; everything runs on this machine.
The service gap is worked out from the rows per job, for live and simulated runs alike: a job waits from its arrival to
its start and gets its tokens evenly between the first and the last.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES
from loadgen.arguments import count, counts
from loadgen.gaps import GapMeter
from loadgen.gateway_stage import Stage, Watch
from loadgen.measures import summarise
from loadgen.outputs import prepare
from loadgen.records import JobRecord, read_records
from loadgen.simulator.oracles import find_rule
from loadgen.simulator.setup import INPUT_PRICE, OUTPUT_PRICE, Setup
from loadgen.simulator.world import World
from loadgen.workload import Workload
from loadgen.workload_args import WorkloadError, add_workload_arguments, workload_from

SAMPLE_S: Final = 0.05
COLUMNS: Final = (
    "gateways",
    "avg_qoe",
    "throughput_tok_s",
    "gap",
    "worst_engine_queue",
    "gateway_cpu_us_per_token",
    "redis_ops_per_token",
    "cpu_share",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `gateways`."""
    add_workload_arguments(parser)
    parser.add_argument(
        "--gateways",
        type=counts,
        default="1,2,4",
        metavar="N[,N...]",
        help="how many (default: %(default)s); 0: one, without Redis",
    )
    parser.add_argument("--engines", type=count, default=4, help="emulated engines (default: %(default)s)")
    parser.add_argument("--profile", default="a10g-7b", choices=sorted(PROFILES), help="default: %(default)s")
    parser.add_argument("--seats", type=count, default=8, help="sequences of each engine (default: %(default)s)")
    parser.add_argument("--policy", default="vtc", help="default: %(default)s")
    parser.add_argument("--simulate-only", action="store_true", help="only the prediction")
    parser.add_argument("--json", type=Path, metavar="OUT", help="every figure")


def run(args: argparse.Namespace) -> int:
    """Measure, print one row for each number of gateways and kind of run."""
    try:
        workload = workload_from(args)
    except WorkloadError as problem:
        print(f"gateways: {problem}", file=sys.stderr)
        return 1
    prepare(args.json)
    rows: list[dict[str, Any]] = []
    for number in args.gateways:
        if number:
            rows.append({"run": "simulated", "gateways": number, **simulated(args, workload, number)})
        if not args.simulate_only:
            rows.append({"run": "live", "gateways": number, **live(args, number)})
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(table(rows))
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| run | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in rows:
        cells = (row.get(name) for name in COLUMNS)
        shown = ("" if cell is None else f"{cell:.4g}" for cell in cells)
        lines.append(f"| {row['run']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def simulated(args: argparse.Namespace, workload: Workload, count: int) -> dict[str, Any]:
    """The prediction, with the gateway's own leases and counters."""
    profile = replace(PROFILES[args.profile], max_num_seqs=args.seats)
    setup = Setup((profile,) * args.engines, find_rule(args.policy), Tuning(), gateways=count)
    served = World(workload, setup).run()
    return figures(served.records())


def figures(records: Sequence[JobRecord]) -> dict[str, Any]:
    """What a run amounts to."""
    found = summarise(records)
    return {name: found.get(name) for name in ("avg_qoe", "p10_qoe", "throughput_tok_s")} | {"gap": gap_of(records)}


def gap_of(records: Sequence[JobRecord]) -> float:
    """The largest change of the difference in service while two clients were both waiting."""
    meter = GapMeter()
    end = max((record.ended_s or 0.0 for record in records), default=0.0)
    for step in range(int(end / SAMPLE_S)):
        now = step * SAMPLE_S
        served: dict[str, float] = {}
        waiting = set()
        for record in records:
            if record.arrived_s > now:
                continue
            started = record.started_s if record.started_s is not None else record.ended_s or end
            if now < started:
                waiting.add(record.client)
            else:
                served[record.client] = served.get(record.client, 0.0) + service(record, now) / record.weight
        meter.sample(now, served, waiting)
    return meter.largest


def service(record: JobRecord, now: float) -> float:
    """What the job has received by then (service units)."""
    first, last = record.first_token_s, record.last_token_s
    done = 0.0
    if first is not None and last is not None:
        done = 1.0 if now >= last else max(0.0, now - first) / max(last - first, 1e-9)
    return INPUT_PRICE * record.input_tokens + OUTPUT_PRICE * record.produced * done


def live(args: argparse.Namespace, count: int) -> dict[str, Any]:
    """The same load on real processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andante-gateways-")))
        stage = stack.enter_context(Stage(folder, count, args))
        watch = Watch(stage)
        rows = folder / "rows.csv"
        command = [sys.executable, "-m", "loadgen", "attack", *stage.attack, "--records", str(rows), *again(args)]
        asyncio.run(watch.during(command))
        found = figures(list(read_records(rows)))
        return found | watch.figures()


def again(args: argparse.Namespace) -> list[str]:
    """The workload's own flags, for the attack."""
    flags = []
    for name in ("scenario", "trace", "pace", "rate_scale", "seed", "start_s", "duration_s", "clients_every"):
        if (value := getattr(args, name)) is not None:
            flags += [f"--{name.replace('_', '-')}", str(value)]
    for setting in args.set:
        flags += ["--set", setting]
    return flags
