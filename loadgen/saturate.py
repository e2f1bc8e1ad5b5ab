"""`python -m loadgen saturate`: how many readers a server carries before they notice, by load after load.

The server is one that runs (`--target`), or one on a virtual clock (`--engine`), there under several policies.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from loadgen import attack, simulate
from loadgen.arguments import natural, positive
from loadgen.connections import TargetError
from loadgen.keys import NoKeys
from loadgen.live_figures import live_figures
from loadgen.outputs import prepare
from loadgen.plot import qoe_against_load, save
from loadgen.saturation import Goal, GoalError, Saturation, readers, saturate
from loadgen.sender import Attack
from loadgen.shared_attack import PartError
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.tables import side_by_side, terminal
from loadgen.workload import Workload
from loadgen.workload_args import WorkloadError, workload_from

Serve = Callable[[Workload], Mapping[str, Any]]
"""A workload served: its figures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `saturate`: that of `attack` or of `simulate`, a goal and bounds."""
    attack.add_sending_arguments(parser, required=False)
    simulate.add_setup_arguments(parser, policies="fcfs,fair_qoe", engine=None)
    parser.add_argument("--goal", default="avg_qoe>=0.95", metavar="MEASURE>=VALUE", help="or <=; any figure of a run")
    parser.add_argument("--low", type=positive, default=0.25, metavar="X", help="begin at X times the workload (0.25)")
    parser.add_argument("--high", type=positive, default=16.0, metavar="X", help="never more than X times (16)")
    parser.add_argument("--steps", type=natural, default=4, metavar="N", help="halvings of the last interval (4)")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curves")


def run(args: argparse.Namespace) -> int:
    """Search, print what was found, write the curves; 1 with a reason if it cannot be done, 2 if even --low missed."""
    try:
        goal = Goal.of(args.goal)
        if args.low > args.high:
            raise ValueError("--low is above --high")
        prepare(args.json, args.svg)
        workload = workload_from(args)
        with servers(args, workload) as found:
            searches = [Search(name, goal, partial(workload_at, args), serve) for name, serve in found.items()]
            for search in searches:
                search.run(low=args.low, high=args.high, steps=args.steps)
    except (WorkloadError, NoKeys, TargetError, PartError, GoalError, ValueError) as problem:
        print(f"saturate: {problem}", file=sys.stderr)
        return 1
    write(args, workload, goal, searches)
    best = {f"{each.name} x{each.found.kept:.3g}": each.best for each in searches if each.found.kept is not None}
    if best:
        print(terminal(side_by_side(best)))
    for each in searches:
        print(each.summary(args.goal))
    return 0 if len(best) == len(searches) else 2


def workload_at(args: argparse.Namespace, scale: float) -> Workload:
    """The workload at `scale` times the load that the command line asks for."""
    return workload_from(argparse.Namespace(**{**vars(args), "rate_scale": args.rate_scale * scale}))


@contextmanager
def servers(args: argparse.Namespace, workload: Workload) -> Iterator[Mapping[str, Serve]]:
    """What is searched, by name. ValueError unless there is one of --target and --engine."""
    if (args.target is None) == (args.engine is None):
        raise ValueError("give a server by --target and --model, or an engine to simulate by --engine")
    if args.target is None:
        yield {name: partial(simulated, simulate.setup_of(args, name)) for name in simulate.policies_of(args.policy)}
        return
    if args.model is None:
        raise ValueError("--target needs --model")
    with attack.client_keys(args, workload) as keys:
        prepared = attack.calibrated(attack.attack_of(args, workload, keys))
    yield {"live": partial(attacked, args, prepared)}


def simulated(setup: Setup, workload: Workload) -> Mapping[str, Any]:
    """On a virtual clock."""
    served = World(workload, setup).run()
    return simulate.figures_of(served, served.records())


def attacked(args: argparse.Namespace, prepared: Attack, workload: Workload) -> Mapping[str, Any]:
    """Over the network, with keys for this load's own clients: there are more of them where each request is one."""
    with attack.client_keys(args, workload) as keys:
        loaded = replace(prepared, requests=workload.requests, keys=dict(keys))
        outcome = attack.perform(loaded, args.processes, sys.stderr.isatty())
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.bottleneck is not None:
        print(f"the generator may be the bottleneck: {outcome.bottleneck}", file=sys.stderr)
    return live_figures(outcome, attack.objectives(args))


@dataclass(slots=True)
class Search:
    """One server at one load after another; `readers` has how many read at once at each."""

    name: str
    goal: Goal
    workload_at: Callable[[float], Workload]
    serve: Serve
    found: Saturation = field(default_factory=Saturation)
    readers: dict[float, float] = field(default_factory=dict)

    def run(self, *, low: float, high: float, steps: int) -> None:
        """Search between `low` and `high` times the workload."""
        self.found = saturate(self.measure, self.goal, low=low, high=high, steps=steps)

    def measure(self, scale: float) -> Mapping[str, Any]:
        """The figures at `scale` times the workload's own load; a line tells them."""
        workload = self.workload_at(scale)
        self.readers[scale] = readers(workload)
        figures = self.serve(workload)
        value = figures.get(self.goal.measure)
        shown = "unknown" if value is None else f"{value:.4g}"
        where = f"{self.name} x{scale:.3g}: {self.readers[scale]:.1f} readers at once"
        print(f"{where}, {self.goal.measure} {shown}", file=sys.stderr, flush=True)
        return figures

    @property
    def best(self) -> Mapping[str, Any]:
        """The figures at the highest load that kept the goal; empty if none did."""
        return {} if self.found.kept is None else self.found.points[self.found.kept]

    @property
    def curve(self) -> list[tuple[float, float | None]]:
        """(readers at once, the goal's measure), by load."""
        points = self.found.points
        return [(self.readers[scale], points[scale].get(self.goal.measure)) for scale in sorted(points)]

    def summary(self, goal: str) -> str:
        """In one sentence."""
        kept, missed = self.found.kept, self.found.missed
        if kept is None:
            return f"{self.name}: {goal} does not even hold at {min(self.readers.values()):.1f} readers at once"
        beyond = "no more was tried: see --high" if missed is None else f"missed at {self.readers[missed]:.1f}"
        return f"{self.name}: {goal} holds up to {self.readers[kept]:.1f} readers at once ({beyond})"


def write(args: argparse.Namespace, workload: Workload, goal: Goal, searches: list[Search]) -> None:
    """The files that were asked for."""
    if args.json is not None:
        policies = {
            each.name: {**each.best, "load_curve": each.curve, "kept": each.found.kept, "missed": each.found.missed}
            for each in searches
        }
        config = {**attack.asked(args), "workload": workload.name}
        args.json.write_text(json.dumps({"config": config, "policies": policies}, indent=2), encoding="utf-8")
    if args.svg is not None:
        curves = {each.name: [(at, y) for at, y in each.curve if y is not None] for each in searches}
        save(qoe_against_load(curves, measure=goal.measure, goal=goal.bound), args.svg)
