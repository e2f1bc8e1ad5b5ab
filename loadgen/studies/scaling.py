"""Engines that come and go with the load: what to scale on, what a late engine costs.

Once in a while a signal is compared with two thresholds. Above the upper one an engine is ordered, which is ready after
its start delay (a machine, an image, the weights of a model); below the lower one for a while, one is drained.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from matplotlib.figure import Figure

from gateway.core.policies import find_policy
from gateway.core.scheduler import Scheduler
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES, Profile
from loadgen.measures import summarise
from loadgen.plot import qoe_against_load, save
from loadgen.scenarios import load_scenario
from loadgen.simulator.engine import SimEngine
from loadgen.simulator.setup import Setup
from loadgen.simulator.world import World
from loadgen.studies.table import Cell, Table
from loadgen.workload import Workload

ENGINE: Final = replace(PROFILES["a100x8-moe"], max_num_seqs=16)
FEWEST: Final = 1
MOST: Final = 4
DELAYS_S: Final = (30.0, 120.0, 300.0)
LOOK_S: Final = 5.0
CALM_S: Final = 60.0

Signal = Callable[[Scheduler, int], float]
"""Of a pool with so many engines."""


def waiting(scheduler: Scheduler, engines: int) -> float:
    """Jobs that wait, for each engine's seat."""
    return scheduler.waiting / (engines * ENGINE.max_num_seqs)


def demand(scheduler: Scheduler, engines: int) -> float:
    """Jobs that wait or run, for each seat: the same number tells that engines are too few and too many."""
    return len(scheduler) / (engines * ENGINE.max_num_seqs)


@dataclass(frozen=True, slots=True)
class Rule:
    """Order above `up`, drain below `down`."""

    signal: Signal
    up: float
    down: float


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "waiting > 0.5": Rule(waiting, 0.5, 0.001),
        "demand > 1.0": Rule(demand, 1.0, 0.6),
        "demand > 0.8": Rule(demand, 0.8, 0.5),
    }
)


class Scaled(World):
    """A pool that grows and shrinks by a rule; engines that were ordered come after `delay_s`."""

    def __init__(self, workload: Workload, setup: Setup, rule: Rule, delay_s: float) -> None:
        super().__init__(workload, setup)
        self._rule = rule
        self._delay_s = delay_s
        self._names = [f"engine-{number}" for number in range(1, len(setup.engines) + 1)]
        self._born = len(self._names)
        self._ordered = 0
        self._calm_since = 0.0
        self._leaving: list[SimEngine] = []
        self.ups = 0
        self.at(LOOK_S, self._judge)

    def _judge(self, _: Any) -> None:
        (gateway,) = self._gateways
        self._let_go()
        if self.idle and not len(gateway.scheduler):
            return
        level = self._rule.signal(gateway.scheduler, len(self._names))
        if level >= self._rule.down:
            self._calm_since = self.now
        if level > self._rule.up and len(self._names) + self._ordered < MOST:
            self._ordered += 1
            self.ups += 1
            self.at(self.now + self._delay_s, self._arrived)
        elif self.now - self._calm_since > CALM_S and len(self._names) > FEWEST:
            self._leaving.append(self._engines[self._names[-1]])
            self.drain_engine(self._names.pop())
            self._calm_since = self.now
        self.at(self.now + LOOK_S, self._judge)

    def _let_go(self) -> None:
        """Book the time of those that have been drained and are empty."""
        for engine in [each for each in self._leaving if not each.legs and not each.dying]:
            self._leaving.remove(engine)
            self.run_.engine_s += self.now - engine.born_s

    def _arrived(self, _: Any) -> None:
        self._ordered -= 1
        self._born += 1
        self._names.append(f"engine-{self._born}")
        self.add_engine(self._names[-1], ENGINE)


def _setup(policy: str, engines: Sequence[Profile]) -> Setup:
    return Setup(tuple(engines), find_policy(policy), Tuning(assumed_output_tokens=0, tick_s=0.1))


def _row(name: str, policy: str, delay_s: float | None, world: World) -> list[Cell]:
    run = world.run()
    found = summarise(run.records(), run.gap.largest, run.plan_ms)
    ups = world.ups if isinstance(world, Scaled) else None
    cells: list[Cell] = [name, policy, delay_s, found["avg_qoe"], found["p10_qoe"], found["ttft_p90_s"]]
    cells += [run.engine_s, ups, found["worst_stall_after_pause_s"]]
    print(*cells, sep=" | ", file=sys.stderr, flush=True)
    return cells


def run(args: argparse.Namespace) -> Sequence[Table]:
    """Fixed pools, then rules and delays, under FCFS and fair QoE."""
    lasts_s = 300.0 if args.quick else 2400.0
    shape = {"duration_s": lasts_s, "period_s": lasts_s / 2, "share": 0.35, "intensity": 2.2}
    workload = load_scenario("chat_readers", seed=args.seed, rate_scale=2.4, overrides=shape)
    rows = []
    for policy in ("fcfs", "fair_qoe"):
        fixed = {count: World(workload, _setup(policy, [ENGINE] * count)) for count in (2, MOST)}
        rows += [_row(f"{count} engines", policy, None, world) for count, world in fixed.items()]
        for name, rule in RULES.items():
            for delay_s in DELAYS_S[:1] if args.quick else DELAYS_S:
                world = Scaled(workload, _setup(policy, [ENGINE] * FEWEST), rule, delay_s)
                rows.append(_row(name, policy, delay_s, world))
    if args.out is not None:
        save(drawn(rows), args.out / "scaling.svg")
    head = ["pool", "policy", "start delay s", "average QoE", "p10", "TTFT p90 s", "engine-seconds", "ordered"]
    return [Table("Engines that come and go", [*head, "worst stall after a pause s"], rows)]


def drawn(rows: Sequence[Sequence[Any]]) -> Figure:
    """What quality costs: average QoE over engine-seconds, a line for each rule over its start delays."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, policy, delay_s, quality, _, _, engine_s, *_ in rows:
        rule = "fixed" if delay_s is None else name
        curves.setdefault(f"{policy}, {rule}", []).append((engine_s, quality))
    return qoe_against_load(curves, load="engine-seconds")
