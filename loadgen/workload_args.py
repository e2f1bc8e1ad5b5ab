"""The part of a command line that names a workload; `simulate` and `attack` share it."""

import argparse
from pathlib import Path
from typing import Final

from loadgen.arguments import count, not_negative, positive, whole
from loadgen.paces import PaceError
from loadgen.scenarios import Parameter, ScenarioError, load_scenario, scenarios
from loadgen.traces import TraceError, bundled, load_trace
from loadgen.workload import Workload

PACES: Final = "reading[:TTFT], listening[:TTFT], machine, media, mixed, RATE or TTFT:RATE (a scenario's own; reading)"


class WorkloadError(ValueError):
    """A workload that cannot be made; the message is for the person at the command line."""


def add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    """`--scenario` or `--trace`, and what they take."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--scenario", metavar="NAME", help=f"a TOML file, or one of {', '.join(scenarios())}")
    source.add_argument("--trace", metavar="FILE", help=f"a CSV file, packed or not, or one of {', '.join(bundled())}")
    parser.add_argument(
        "--pace", metavar="SPEC", help="reading[:TTFT], listening[:TTFT], machine, media, mixed, RATE, TTFT:RATE"
    )
    parser.add_argument("--rate-scale", type=positive, default=1.0, metavar="X", help="X times the load")
    parser.add_argument("--seed", type=whole, metavar="N", help="of everything that is drawn (a scenario's own; 0)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a scenario's parameter")
    parser.add_argument("--start-s", type=not_negative, default=0.0, metavar="S", help="a trace from this time on")
    parser.add_argument("--duration-s", type=positive, metavar="S", help="only so much of a trace")
    parser.add_argument("--clients-every", type=count, default=1, metavar="K", help="every K-th client of a trace")


def workload_from(args: argparse.Namespace) -> Workload:
    """What the arguments name. Raises WorkloadError."""
    try:
        if args.scenario is not None:
            overrides = dict(_parameter(word) for word in args.set)
            if args.start_s or args.duration_s is not None or args.clients_every != 1:
                raise WorkloadError("--start-s, --duration-s and --clients-every are for traces; a scenario has --set")
            scale = args.rate_scale
            return load_scenario(args.scenario, rate_scale=scale, seed=args.seed, pace=args.pace, overrides=overrides)
        if args.set:
            raise WorkloadError("--set is for scenarios; a trace has --start-s, --duration-s and --clients-every")
        return load_trace(
            Path(args.trace),
            rate_scale=args.rate_scale,
            seed=args.seed or 0,
            pace=args.pace or "reading",
            start_s=args.start_s,
            duration_s=args.duration_s,
            clients_every=args.clients_every,
        )
    except (ScenarioError, TraceError, PaceError) as problem:
        raise WorkloadError(str(problem)) from problem


def _parameter(word: str) -> tuple[str, Parameter]:
    """NAME=VALUE, the value a number where it can be one."""
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise WorkloadError(f"--set {word}: not NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(text)
        except ValueError:
            continue
    return name, text
