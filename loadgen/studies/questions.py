"""What the two papers leave open: stalls of those who were paused, readers of every kind side by side, hidden tabs, bad
networks, and many gateways that know of each other late.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from gateway.core.policies import find_policy
from gateway.core.qoe import Delivery, exact_qoe, shown_times
from gateway.core.tuning import Tuning
from gateway.emulator.profiles import PROFILES, Profile
from loadgen.measures import summarise
from loadgen.records import JobRecord
from loadgen.scenarios import load_scenario
from loadgen.simulator.networked import Line, Network, Networked
from loadgen.simulator.setup import Run, Setup
from loadgen.simulator.world import World
from loadgen.studies.table import Cell, Table
from loadgen.traces import load_trace
from loadgen.workload import Workload

POLICIES: Final = ("fcfs", "vtc", "andes", "fair_qoe")
KINDS: Final = ("reading", "listening", "machine", "media")
GATEWAYS: Final = (1, 2, 4, 16)
STALENESS_S: Final = (0.05, 1.0)
TICK_S: Final = 0.1
NETWORKS: Final = (
    Network("good", round_trip_s=0.02, jitter_s=0.005),
    Network("mobile", 0.08, 0.05, stall_every_s=20.0, stall_s=0.5, cut_every_s=60.0, cut_s=3.0),
    Network("bad", 0.4, 0.25, stall_every_s=8.0, stall_s=1.5, cut_every_s=30.0, cut_s=4.0),
)
_SEEDS: Final = 3
_STALL_S: Final = 1.0
_NOTICED_S: Final = 0.1  # shorter stalls than that are not seen


class Watched(World):
    """Notes when the pool was overloaded."""

    def __init__(self, workload: Workload, setup: Setup) -> None:
        super().__init__(workload, setup)
        self.overloads: list[tuple[float, float]] = []

    def _plan(self, gateway: Any) -> None:
        super()._plan(gateway)
        if gateway.scheduler.overloaded:
            if self.overloads and self.overloads[-1][1] >= self.now - 1.0:
                self.overloads[-1] = (self.overloads[-1][0], self.now)
            else:
                self.overloads.append((self.now, self.now))

    def calm(self, record: JobRecord) -> bool:
        """Whether the pool was not overloaded while this job was there."""
        ended_s = record.arrived_s if record.ended_s is None else record.ended_s
        return all(end < record.arrived_s or begin > ended_s for begin, end in self.overloads)


class Untold(World):
    """Nobody tells the gateway that a reader has looked away."""

    def _look(self, about: Any) -> None:
        """The report is lost."""


def _setup(policy: str, profiles: Sequence[Profile], **more: Any) -> Setup:
    return Setup(tuple(profiles), find_policy(policy), Tuning(assumed_output_tokens=0, tick_s=TICK_S), **more)


def _shown(*cells: Cell) -> list[Cell]:
    print(*cells, sep=" | ", file=sys.stderr, flush=True)
    return list(cells)


# ---- who was paused


def stalls(args: argparse.Namespace) -> Table:
    """How those who were paused went on."""
    seats = replace(PROFILES["a100x8-moe"], max_num_seqs=16)
    cases: list[tuple[str, Profile, Workload]] = []
    for scale in (0.5,) if args.quick else (0.5, 0.618, 0.861):
        arena = load_trace("vtc_arena", rate_scale=scale, seed=args.seed, duration_s=120 if args.quick else None)
        cases.append((f"Arena x{scale:g}", PROFILES["a10g-7b"], arena))
    chats = () if args.quick else (0.5, 1.0)
    cases += [
        (f"chat readers x{scale:g}", seats, load_scenario("chat_readers", seed=args.seed, rate_scale=scale))
        for scale in chats
    ]
    rows = [_stalled(*case, policy) for case in cases for policy in ("andes", "fair_qoe")]
    head = ["load", "policy", "jobs", "paused", "of them without a stall", "stall p50 s", "p90 s", "worst s"]
    head += ["jobs without overload", "of them paused", "worst stall s"]
    note = f"A stall: a reader who has begun has nothing to read for over {_NOTICED_S:g} s because of a pause."
    return Table("Streams that were paused", head, rows, note)


def _stalled(name: str, profile: Profile, workload: Workload, policy: str) -> list[Cell]:
    world = Watched(workload, _setup(policy, [profile]))
    records = world.run().records()
    return _shown(name, policy, *_of_the_paused(records), *_of_the_calm(world, records))


def _of_the_paused(records: Sequence[JobRecord]) -> list[Cell]:
    paused = [record.stall_after_pause_s or 0.0 for record in records if record.pauses]
    if not paused:
        return [len(records), 0, None, None, None, None]
    fine = fmean(stall_s <= _NOTICED_S for stall_s in paused)
    middle, late, worst = (float(each) for each in np.quantile(paused, (0.5, 0.9, 1.0)))
    return [len(records), len(paused), fine, middle, late, worst]


def _of_the_calm(world: Watched, records: Iterable[JobRecord]) -> list[Cell]:
    calm = [record for record in records if world.calm(record)]
    worst = max((record.stall_after_pause_s or 0.0 for record in calm), default=0.0)
    return [len(calm), sum(bool(record.pauses) for record in calm), worst]


# ---- readers of every kind


def kinds(args: argparse.Namespace) -> Table:
    """People, listeners, programs and players of media on one engine."""
    rows = []
    for scale in (1.0,) if args.quick else (0.7, 1.0, 1.4):
        shape = {"duration_s": 60} if args.quick else {}
        workload = load_scenario("mixed_readers", seed=args.seed, rate_scale=scale, overrides=shape)
        for policy in POLICIES:
            records = World(workload, _setup(policy, [PROFILES["a10g-7b"]])).run().records()
            by_kind = [_mean(record.qoe for record in records if record.pace_kind == kind) for kind in KINDS]
            pauses = [_mean(record.pauses or 0 for record in records if record.pace_kind == kind) for kind in KINDS]
            rows.append(_shown(f"x{scale:g}", policy, _mean(record.qoe for record in records), *by_kind, *pauses))
    head = ["load", "policy", "average QoE", *KINDS, *(f"pauses, {kind}" for kind in KINDS)]
    return Table("Readers of every kind", head, rows)


def hidden(args: argparse.Namespace) -> Table:
    """Four readers in ten look away now and then; what it is worth that the gateway is told."""
    rows = []
    for scale in (1.0,) if args.quick else (0.5, 0.7, 1.0):
        shape = {"duration_s": 60} if args.quick else {}
        workload = load_scenario("hidden_tabs", seed=args.seed, rate_scale=scale, overrides=shape)
        for name, policy, make in (
            ("fcfs", "fcfs", World),
            ("andes", "andes", World),
            ("fair_qoe", "fair_qoe", World),
            ("fair_qoe, not told", "fair_qoe", Untold),
        ):
            found = _figures(make(workload, _setup(policy, [PROFILES["a10g-7b"]])).run())
            rows.append(_shown(f"x{scale:g}", name, *(found[key] for key in ("avg_qoe", "p10_qoe", "ttft_p90_s"))))
    return Table("Readers who look away", ["load", "policy", "average QoE", "p10", "TTFT p90 s"], rows)


# ---- networks


def networks(args: argparse.Namespace) -> Table:
    """Readers on good, mobile and bad networks; what it is worth that the gateway is told of round trip and jitter."""
    shape = {"lossy": 0.0, "slow": 0.0, "duration_s": 60.0 if args.quick else 200.0}
    seeds = range(args.seed, args.seed + (1 if args.quick else _SEEDS))
    rows = []
    for scale in (0.6,) if args.quick else (0.5, 0.65):
        loads = {seed: load_scenario("bad_networks", seed=seed, rate_scale=scale, overrides=shape) for seed in seeds}
        for network in NETWORKS:
            for policy, told in (("fcfs", False), ("andes", False), ("fair_qoe", False), ("fair_qoe", True)):
                found = [_networked(loads[seed], network, policy, told=told, seed=seed) for seed in seeds]
                name = f"{policy}, told" if told else policy
                rows.append(_shown(f"x{scale:g}", network.name, name, *np.mean(found, axis=0).tolist()))
    head = ["load", "network", "policy", "QoE at the screen", "p10", "QoE at the gateway", "without text s, mean"]
    note = (
        "Without text: a reader who has begun waits for more. A reader stalls who does so for over 1 s at a time. "
        "Policies other than fair_qoe do not go by what readers tell."
    )
    return Table("Networks", [*head, "readers who stall", "pauses a job"], rows, note)


def _networked(workload: Workload, network: Network, policy: str, *, told: bool, seed: int) -> list[float]:
    lines = {request.index: network.line(seed, request.index) for request in workload.requests}
    return _on_screen(Networked(workload, _setup(policy, [PROFILES["a10g-7b"]]), lines, told=told).run(), lines)


def _on_screen(run: Run, lines: Mapping[int, Line]) -> list[float]:
    """By what the readers see, and by when it was sent."""
    quality, waits = [], []
    for job in run.jobs:
        request = job.request
        seen = lines[request.index].screen(at - request.arrived_s for at in job.times())
        deliveries = [Delivery(at) for at in seen]
        quality.append(exact_qoe(request.pace, deliveries))
        shown = shown_times(request.pace, deliveries)
        slot = 1 / request.pace.rate
        waits.append([after.read_from_s - before.read_from_s - slot for before, after in pairwise(shown)])
    dry = [sum(max(0.0, each) for each in gaps) for gaps in waits]
    stalled = fmean(any(each > _STALL_S for each in gaps) for gaps in waits)
    low = float(np.percentile(quality, 10))
    gateway, pauses = fmean(each.qoe for each in run.records()), fmean(job.pauses for job in run.jobs)
    return [fmean(quality), low, gateway, fmean(dry), stalled, pauses]


# ---- many gateways


def gateways(args: argparse.Namespace) -> Table:
    """One load on the same engines through more and more gateways, which hear of each other late."""
    profiles = [PROFILES["h100-8b"]] * (1 if args.quick else 4)
    piece = 60.0 if args.quick else 600.0
    workload = load_trace("azure_conv_2023", rate_scale=3.37 * len(profiles), seed=args.seed, duration_s=piece)
    rows = []
    for count in GATEWAYS[:2] if args.quick else GATEWAYS:
        for late_s in STALENESS_S[:1] if count == 1 else STALENESS_S:
            found = _figures(World(workload, _setup("fair_qoe", profiles, gateways=count, staleness_s=late_s)).run())
            keys = ("avg_qoe", "p10_qoe", "max_service_gap", "throughput_tok_s", "preemptions_per_job")
            bound = found["service_per_s"] * late_s * (count - 1) / count
            rows.append(_shown(count, late_s, *(found[key] for key in keys), bound))
    head = ["gateways", "late by s", "average QoE", "p10", "largest gap", "tokens/s", "pauses a job"]
    return Table("Gateways that hear late", [*head, "what lateness may add to the gap"], rows)


# ---- all


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fmean(found) if found else 0.0


def _figures(run: Run) -> Mapping[str, Any]:
    records = run.records()
    service = sum(record.input_tokens + 2 * record.produced for record in records)
    return {
        **summarise(records, run.gap.largest, run.plan_ms),
        "service_per_s": service / max(run.ended_s, 1e-9),
        "engine_s": run.engine_s,
    }


PARTS: Final[Mapping[str, Callable[[argparse.Namespace], Table]]] = MappingProxyType(
    {"stalls": stalls, "kinds": kinds, "hidden": hidden, "networks": networks, "gateways": gateways}
)


def of(name: str) -> Callable[[argparse.Namespace], Sequence[Table]]:
    """One of them as a study of its own."""
    return lambda args: [PARTS[name](args)]


def run(args: argparse.Namespace) -> Sequence[Table]:
    """All of them."""
    return [part(args) for part in PARTS.values()]
