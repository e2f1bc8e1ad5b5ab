"""Table 2 of the VTC paper on the Arena trace: ours beside what is printed.

Sheng et al., "Fairness in Serving Large Language Models", OSDI'24, arXiv 2401.00588v2. The first-token times called
"paper", and the rows of RPM(10) and RPM(15), are not in Table 2 but computed from the raw results in its artifact.
"""

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from loadgen.measures import summarise
from loadgen.scenarios import load_scenario
from loadgen.simulator.artifact import serve
from loadgen.simulator.oracles import find_rule
from loadgen.studies.table import Cell, Table
from loadgen.workload import Workload

LIGHTEST: Final = 20
"""The clients with the fewest requests, of 27: the other seven make most of the load."""

JITTER_S: Final = 0.05
"""About one iteration: no user would notice, but every batch is another one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy made of the trace. `max_diff`, `avg_diff` and `var_diff` are of the artifact's service difference.

    `throughput` in tokens/s, prompt and output; `light_s` the mean first-token time of the lightest clients' requests;
    `gap` the largest service gap between two clients that both wait (not in the paper), in service units.
    """

    max_diff: float
    avg_diff: float
    var_diff: float
    throughput: float
    finished: int
    light_s: float | None
    gap: float | None = None


PRINTED: Final[Mapping[str, Outcome]] = MappingProxyType(
    {
        "fcfs": Outcome(759.97, 433.53, 32112.00, 777, 1500, 55.9),
        "lcf": Outcome(750.49, 323.82, 29088.90, 778, 1500, 1.8),
        "vtc": Outcome(368.40, 251.66, 6549.16, 779, 1500, 3.1),
        "vtc_predict": Outcome(365.47, 240.33, 5321.62, 773, 1500, 4.1),
        "vtc_oracle": Outcome(329.46, 227.51, 4475.76, 781, 1500, 4.3),
        "rpm(5)": Outcome(143.86, 83.58, 1020.46, 340, 581, 0.2),
        "rpm(10)": Outcome(217.65, 128.24, 2767, 532, 900, None),
        "rpm(15)": Outcome(343.07, 161.06, 5189, 626, 1053, 2.1),
        "rpm(20)": Outcome(446.76, 195.71, 7449.79, 694, 1158, 4.4),
        "rpm(30)": Outcome(693.66, 309.45, 24221.31, 747, 1324, 23.8),
    }
)

COUNTERS: Final = ("fcfs", "lcf", "vtc", "vtc_predict", "vtc_oracle")


def measure(workload: Workload, policy: str) -> Outcome:
    """Serve the workload on the artifact's server."""
    run = serve(workload, find_rule(policy))
    records = [job.record() for job in run.jobs]
    light = lightest(workload)
    waits = [r.first_token_s - r.arrived_s for r in records if r.client in light and r.first_token_s is not None]
    found = summarise(records, run.gap.largest)
    return Outcome(
        found["max_service_diff"],
        found["avg_service_diff"],
        found["var_service_diff"],
        found["throughput_tok_s"],
        found["outcomes"]["finished"],
        statistics.fmean(waits),
        found["max_service_gap"],
    )


def lightest(workload: Workload) -> set[str]:
    """The clients with the fewest requests."""
    asked = Counter(request.client for request in workload.requests)
    return {client for client, _ in asked.most_common()[-LIGHTEST:]}


def jittered(workload: Workload, seed: int) -> Workload:
    """The same requests, each later by up to JITTER_S."""
    draw = random.Random(f"jitter:{seed}")
    late = [replace(request, arrived_s=request.arrived_s + JITTER_S * draw.random()) for request in workload.requests]
    late.sort(key=lambda request: request.arrived_s)
    return Workload(workload.name, tuple(replace(request, index=index) for index, request in enumerate(late)))


def run(args: argparse.Namespace) -> list[Table]:
    """Table 2, its ratios, and how far the ratios move from run to run."""
    arena = load_scenario("arena")
    policies = COUNTERS[:3] if args.quick else tuple(PRINTED)
    found = {policy: measure(arena, policy) for policy in policies}
    repeats = 2 if args.quick else 10
    shifted = [jittered(arena, args.seed + nth) for nth in range(repeats)]
    spread = {policy: [measure(one, policy) for one in shifted] for policy in policies if policy in COUNTERS}
    return [_beside(found), _ratios(found), _spread(spread)]


def _beside(found: Mapping[str, Outcome]) -> Table:
    columns = ["policy", "max diff", "paper", "avg diff", "paper", "variance", "paper", "tok/s", "paper"]
    columns += ["finished", "paper", "light clients' first token (s)", "paper", "gap while both wait"]
    rows: list[list[Cell]] = []
    for policy, ours in found.items():
        theirs = PRINTED[policy]
        pairs = ((getattr(ours, name), getattr(theirs, name)) for name in (*_PAIRS, "finished", "light_s"))
        rows.append([policy, *(cell for pair in pairs for cell in pair), ours.gap])
    return Table("VTC, Table 2: the Arena trace, pool of 10,000 tokens", columns, rows)


_PAIRS: Final = ("max_diff", "avg_diff", "var_diff", "throughput")


def _ratios(found: Mapping[str, Outcome]) -> Table:
    """The cells that do not hang on how fast the engine is."""
    rows: list[list[Cell]] = []
    for policy, ours in found.items():
        if policy == "fcfs":
            continue
        base, theirs, first = found["fcfs"], PRINTED[policy], PRINTED["fcfs"]
        light = None if theirs.light_s is None or first.light_s is None else first.light_s / theirs.light_s
        rows.append(
            [
                policy,
                ours.avg_diff / base.avg_diff,
                theirs.avg_diff / first.avg_diff,
                ours.throughput / base.throughput,
                theirs.throughput / first.throughput,
                None if ours.light_s is None or base.light_s is None else base.light_s / ours.light_s,
                light,
            ]
        )
    columns = ["policy over fcfs", "avg diff", "paper", "throughput", "paper", "light clients sooner, times", "paper"]
    return Table("VTC, Table 2 as ratios to FCFS", columns, rows)


def _spread(spread: Mapping[str, Sequence[Outcome]]) -> Table:
    """Mean, lowest and highest ratio over runs that differ by nothing that matters."""
    base = spread["fcfs"]
    rows: list[list[Cell]] = []
    for policy, runs in spread.items():
        ratios = [one.avg_diff / first.avg_diff for one, first in zip(runs, base, strict=True)]
        mean, theirs = statistics.fmean(one.avg_diff for one in runs), PRINTED[policy].avg_diff
        row = [statistics.fmean(ratios), min(ratios), max(ratios), mean, theirs, theirs / PRINTED["fcfs"].avg_diff]
        rows.append([policy, *row])
    columns = ["policy", "avg diff over fcfs", "lowest", "highest", "avg diff", "paper", "paper's over fcfs"]
    title = f"VTC, Table 2: {len(base)} runs, every arrival late by up to {1000 * JITTER_S:.0f} ms"
    return Table(title, columns, rows)
