"""How long a decision takes as the pool grows, what hearing of a token costs, and how fast the simulator is.

CPU time, so that other programs count little. Machines differ: ten million additions tell how fast this one is.
"""

import argparse
import random
from collections.abc import Sequence
from statistics import median
from time import process_time
from typing import Any, Final

from gateway.core.capacity import EngineCapacity
from gateway.core.events import LegEnded
from gateway.core.job import JobSpec
from gateway.core.pace import Pace
from gateway.core.policies import find_policy
from gateway.core.scheduler import Scheduler
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES
from loadgen.simulator.setup import NO_QUEUE_LIMITS, Setup
from loadgen.simulator.world import World
from loadgen.studies.table import Table
from loadgen.traces import load_trace

SIZES: Final = (100, 1_000, 10_000)
POLICIES: Final = ("fcfs", "vtc", "andes", "fair_qoe")
PLANS: Final = 100
ENGINES: Final = 4
TENANTS: Final = 40
TICK_S: Final = 0.05


class Crowd:
    """A contended pool that stays at so many jobs: a quarter of them have a place, one ends and one comes each tick."""

    def __init__(self, policy: str, size: int, seed: int) -> None:
        self.scheduler = Scheduler(find_policy(policy), NO_QUEUE_LIMITS, Tuning(assumed_output_tokens=0))
        self.now = 0.0
        self._draw = random.Random(seed)
        self._running: dict[str, int] = {}  # tokens produced
        self._past: dict[str, int] = {}  # of those who stand still
        self._count = 0
        for number in range(ENGINES):
            self.scheduler.engine(f"e{number}", EngineCapacity(max(1, size // 4 // ENGINES)), self.now)
        for _ in range(size):
            self.now += 10.0 / size
            self.arrive()

    def arrive(self) -> None:
        """One more reader."""
        self._count += 1
        tenant = f"t{self._draw.randrange(TENANTS)}"
        pace = Pace("reading", 1.0, 4.0 + self._draw.random())
        spec = JobSpec(f"j{self._count}", tenant, self._draw.randrange(50, 2000), pace=pace, resumable=True)
        self.scheduler.add(spec, self.now)

    def tick(self) -> tuple[float, float]:
        """One round: tokens come, a job ends, one comes, a plan is made. CPU seconds of plan and of hearing."""
        self.now += TICK_S
        began = process_time()
        for name, produced in self._running.items():
            self._running[name] = produced + 2
            self.scheduler.observe(name, produced + 2, self.now)
        heard_s = (process_time() - began) / max(1, len(self._running))
        for name, produced in self._running.items():
            self.scheduler.delivered(name, produced, self.now)
        if self._running:
            self._end(next(iter(self._running)))
        self.arrive()
        began = process_time()
        plan = self.scheduler.plan(self.now)
        took_s = process_time() - began
        for pause in plan.pause:
            self._past[pause.job_id] = self._running.pop(pause.job_id)
            self.scheduler.leg_ended(pause.job_id, LegEnded(), self.now)
        self._running |= {start.job_id: 0 for start in plan.start}
        self._running |= {resume.job_id: self._past.pop(resume.job_id) for resume in plan.resume}
        return took_s, heard_s

    def _end(self, name: str) -> None:
        del self._running[name]
        self.scheduler.remove(name, self.now, finished=True)
        self.scheduler.leg_ended(name, LegEnded(), self.now)


def run(args: argparse.Namespace) -> Sequence[Table]:
    """Decisions by policy and size, then the simulator on the servegen trace."""
    sizes = SIZES[:2] if args.quick else SIZES
    rows: list[list[Any]] = []
    for policy in POLICIES:
        for size in sizes:
            crowd = Crowd(policy, size, args.seed)
            seen = [crowd.tick() for _ in range(PLANS)]
            plans = sorted(plan for plan, _ in seen)
            heard = median(each for _, each in seen if each)
            rows.append([policy, size, 1e3 * median(plans), 1e3 * plans[int(0.99 * PLANS)], 1e6 * heard])
    title = f"Deciding; ten million additions take {_additions_s():.2f} s"
    decided = Table(title, ("policy", "jobs", "plan ms p50", "plan ms p99", "observe us"), rows)
    return [decided, _simulated(args)]


def _additions_s() -> float:
    began = process_time()
    total = 0
    for number in range(10_000_000):
        total += number
    return process_time() - began


def _simulated(args: argparse.Namespace) -> Table:
    rows: list[list[Any]] = []
    duration_s = 20.0 if args.quick else 120.0
    workload = load_trace("servegen_m-large_median_10min", seed=args.seed, duration_s=duration_s)
    for policy in POLICIES:
        setup = Setup((PROFILES["h100-8b"],) * 8, find_policy(policy), Tuning(assumed_output_tokens=0))
        began = process_time()
        jobs = len(World(workload, setup).run().jobs)
        rows.append([policy, jobs, 60 * jobs / (process_time() - began)])
    return Table("Simulator, servegen on 8 x h100-8b", ("policy", "jobs", "jobs a CPU minute"), rows)
