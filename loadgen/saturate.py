"""`python -m loadgen saturate`: how much of a load a server carries before its readers notice."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadgen import attack
from loadgen.connections import TargetError
from loadgen.keys import NoKeys
from loadgen.live_figures import live_figures
from loadgen.plot import qoe_against_load, save
from loadgen.saturation import Goal, GoalError, readers, saturate
from loadgen.sender import Attack
from loadgen.tables import side_by_side, terminal
from loadgen.workload_args import WorkloadError, workload_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `saturate`: that of `attack`, a goal and bounds."""
    attack.add_arguments(parser)
    parser.add_argument("--goal", default="avg_qoe>=0.95", metavar="MEASURE>=VALUE", help="or <=; any figure of a run")
    parser.add_argument("--low", type=float, default=0.25, metavar="X", help="begin at X times the workload (0.25)")
    parser.add_argument("--high", type=float, default=16.0, metavar="X", help="never more than X times (16)")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="halvings of the last interval (4)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curve")


def run(args: argparse.Namespace) -> int:
    """Search, print what was found, write the curve; 1 with a reason if it cannot be done, 2 if even --low missed."""
    try:
        goal = Goal.of(args.goal)
        workload = workload_from(args)
        with attack.client_keys(args, workload) as keys:
            prepared = attack.calibrated(attack.attack_of(args, workload, keys))
            search = _Search(args, goal, prepared)
            found = saturate(search.measure, goal, low=args.low, high=args.high, steps=args.steps)
    except (WorkloadError, NoKeys, TargetError, GoalError) as problem:
        print(f"saturate: {problem}", file=sys.stderr)
        return 1
    curve = [(search.readers[scale], found.points[scale].get(goal.measure)) for scale in sorted(found.points)]
    best = None if found.kept is None else found.points[found.kept]
    if args.json is not None:
        config = {**attack.config_of(args, workload, prepared), "kept": found.kept, "missed": found.missed}
        policies = {"live": {**(best or {}), "load_curve": curve}}
        args.json.write_text(json.dumps({"config": config, "policies": policies}, indent=2), encoding="utf-8")
    if args.svg is not None:
        known = [(load, value) for load, value in curve if value is not None]
        save(qoe_against_load({"live": known}, measure=goal.measure, goal=goal.bound), args.svg)
    if best is None or found.kept is None:
        print(f"saturate: {args.goal} does not even hold at {args.low:g} times the workload", file=sys.stderr)
        return 2
    print(terminal(side_by_side({f"x{found.kept:.3g}": best})))
    beyond = "no more was tried" if found.missed is None else f"missed at {search.readers[found.missed]:.1f}"
    print(f"{args.goal} holds up to {search.readers[found.kept]:.1f} readers at once ({beyond})")
    return 0


class _Search:
    """Runs the workload at one load after another and says how each went."""

    def __init__(self, args: argparse.Namespace, goal: Goal, prepared: Attack) -> None:
        self.readers: dict[float, float] = {}
        self._args, self._goal, self._prepared = args, goal, prepared

    def measure(self, scale: float) -> Mapping[str, Any]:
        """The figures at `scale` times the workload's own load."""
        args = argparse.Namespace(**{**vars(self._args), "rate_scale": self._args.rate_scale * scale})
        workload = workload_from(args)
        self.readers[scale] = readers(workload)
        attacked = replace(self._prepared, requests=workload.requests)
        outcome = attack.perform(attacked, args.processes, sys.stderr.isatty())
        figures = live_figures(outcome, attack.objectives(args))
        value = figures.get(self._goal.measure)
        shown = "unknown" if value is None else f"{value:.4g}"
        print(f"x{scale:.3g}: {self.readers[scale]:.1f} readers at once, {self._goal.measure} {shown}", flush=True)
        if outcome.bottleneck is not None:
            print(f"the generator may be the bottleneck: {outcome.bottleneck}", file=sys.stderr)
        return figures
