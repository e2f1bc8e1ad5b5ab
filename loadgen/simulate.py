"""`python -m loadgen simulate`: a workload on a virtual clock, under the gateway's own scheduler and emulated engines.

One seed gives one run, so two policies differ by what they decide and by nothing else.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.core.qoe import Delivery
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES, Profile
from loadgen import plot, report
from loadgen.arguments import count, not_negative, not_negative_or_inf, positive
from loadgen.measures import summarise
from loadgen.outputs import prepare, prepare_folder
from loadgen.page import page
from loadgen.records import JobRecord, write_records
from loadgen.simulator.oracles import RULES, find_rule
from loadgen.simulator.setup import Run, Setup
from loadgen.simulator.world import World
from loadgen.tables import side_by_side, terminal
from loadgen.workload import Workload
from loadgen.workload_args import WorkloadError, add_workload_arguments, workload_from

ENGINE: Final = re.compile(rf"(?P<name>{'|'.join(PROFILES)})(:(?P<seats>[0-9]{{1,6}}))?(x(?P<count>[0-9]{{1,4}}))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `simulate`."""
    add_workload_arguments(parser)
    add_setup_arguments(parser, policies="fcfs,vtc,andes,fair_qoe", engine="h100-8b")
    parser.add_argument("--json", type=Path, metavar="OUT", help="the figures of every policy")
    parser.add_argument("--records", type=Path, metavar="FILE", help="a row per job and policy, CSV or CSV.gz")
    parser.add_argument("--html", type=Path, metavar="FILE", help="one self-contained page with tables and figures")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="every figure as SVG and PNG")


def add_setup_arguments(parser: argparse.ArgumentParser, *, policies: str, engine: str | None) -> None:
    """Policies, engines, gateways and the knobs; `saturate` has the same."""
    parser.add_argument(
        "--policy", default=policies, metavar="P[,P...]", help=f"of {', '.join(RULES)}, rpm(N) ({policies})"
    )
    parser.add_argument(
        "--engine",
        default=engine,
        metavar="PROFILE[:SEATS][xN]",
        help=f"N engines (1) of {', '.join(PROFILES)}; SEATS answers at once, where not the profile's own",
    )
    parser.add_argument("--gateways", type=count, default=1, metavar="G", help="gateways that share the engines (1)")
    parser.add_argument(
        "--staleness-s", type=not_negative, default=0.05, metavar="S", help="how late they hear of each other"
    )
    parser.add_argument("--slack-s", type=not_negative_or_inf, metavar="S", help="fair_qoe's knob")
    parser.add_argument("--tick-s", type=positive, metavar="S", help="how often a contended pool decides again")
    parser.add_argument("--horizon-s", type=positive, metavar="S", help="how far ahead a gain looks")


def run(args: argparse.Namespace) -> int:
    """Simulate every policy, print the table, write the files. 1 with one line of reason if it cannot be done."""
    try:
        workload = workload_from(args)
        setups = {name: setup_of(args, name) for name in policies_of(args.policy)}
    except (WorkloadError, ValueError) as problem:
        print(f"simulate: {problem}", file=sys.stderr)
        return 1
    prepare(args.json, args.records, args.html)
    prepare_folder(args.figures)
    figures: dict[str, dict[str, Any]] = {}
    records: dict[str, list[JobRecord]] = {}
    drawn: dict[str, Any] = {}
    for name, setup in setups.items():
        began = time.perf_counter()
        served = World(workload, setup).run()
        records[name] = [replace(record, policy=name) for record in served.records()]
        figures[name] = figures_of(served, records[name])
        took_s = time.perf_counter() - began
        print(f"{name}: {len(served.jobs)} jobs in {took_s:.1f} s, {len(served.plan_ms)} plans", file=sys.stderr)
        drawn |= timeline_of(name, served)
    rows = side_by_side(figures)
    print(terminal(rows))
    write(args, workload, figures, records, rows, drawn)
    return 0


def write(
    args: argparse.Namespace,
    workload: Workload,
    figures: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, list[JobRecord]],
    rows: Any,
    drawn: Mapping[str, Any],
) -> None:
    """The files that were asked for."""
    config = {**asked(args), "workload": workload.name, "jobs": len(workload.requests)}
    if args.json is not None:
        args.json.write_text(json.dumps({"config": config, "policies": figures}, indent=2), encoding="utf-8")
    if args.records is not None:
        write_records(args.records, (record for rows in records.values() for record in rows))
    if args.html is not None or args.figures is not None:
        pictures = {**report.figures_of(figures, records), **drawn}
        if args.html is not None:
            args.html.write_text(page(workload.name, rows, pictures, config), encoding="utf-8")
        if args.figures is not None:
            report.write_figures(args.figures, pictures)


def policies_of(text: str) -> list[str]:
    """The names between the commas. ValueError for one that nobody knows."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        try:
            find_rule(name)
        except KeyError:
            raise ValueError(f"no policy is called {name!r}; there are {', '.join(RULES)} and rpm(N)") from None
    if not names:
        raise ValueError("--policy names no policy")
    return names


def engines_of(text: str) -> tuple[Profile, ...]:
    """`PROFILE[:SEATS][xN]`, several with commas between. ValueError for an unknown profile, or no engine or seat."""
    engines: list[Profile] = []
    for part in text.split(","):
        found = ENGINE.fullmatch(part.strip())
        if found is None or found["seats"] == "0" or found["count"] == "0":
            raise ValueError(f"--engine {part}: not PROFILE[:SEATS][xN] with a profile of {', '.join(PROFILES)}")
        profile = PROFILES[found["name"]]
        if found["seats"] is not None:
            profile = replace(profile, max_num_seqs=int(found["seats"]))
        engines += [profile] * int(found["count"] or 1)
    return tuple(engines)


def setup_of(args: argparse.Namespace, policy: str) -> Setup:
    """What the command line asks for. ValueError for what cannot be."""
    given = {name: getattr(args, name) for name in ("slack_s", "tick_s", "horizon_s")}
    known = {name: value for name, value in given.items() if value is not None}
    # An engine's memory is counted as it fills: the emulator preempts by itself where a policy lets it run over.
    tuning = Tuning(assumed_output_tokens=0, **known)
    return Setup(
        engines_of(args.engine), find_rule(policy), tuning, gateways=args.gateways, staleness_s=args.staleness_s
    )


def figures_of(served: Run, records: Sequence[JobRecord]) -> dict[str, Any]:
    """One policy's figures, its gap over time among them."""
    return {
        **summarise(records, served.gap.largest, served.plan_ms),
        "engine_s": served.engine_s,
        "gap_series": served.gap.series.points,
    }


def timeline_of(name: str, served: Run) -> dict[str, Any]:
    """The job that was paused most often: due, delivered and read; nothing if none was paused."""
    job = max(served.jobs, key=lambda each: (each.pauses, -each.request.index), default=None)
    if job is None or not job.pauses:
        return {}
    request = job.request
    deliveries = [Delivery(at - request.arrived_s) for at in job.times()]
    figure = plot.job_timeline(request.pace, deliveries, away=request.reader.absent)
    return {f"One job's timeline, {name} (paused {job.pauses} times)": figure}


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """The command line, for the result's own record."""
    hidden = {"run", "json", "records", "html", "figures"}
    return {name: value for name, value in vars(args).items() if name not in hidden}
