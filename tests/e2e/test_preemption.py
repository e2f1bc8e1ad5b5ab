"""Pauses by the default policy as readers meet them: a burst at an emulated engine, beside first come, first served.

Small by default. `TEST_PREEMPTION_BURST_S=90` is the full size, which also compares with the simulator.
"""

import json
import os
import subprocess
import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from loadgen.records import read_records
from tests.support.processes import python
from tests.support.programs import require_quiet_machine
from tests.support.servers import Emulators, Gateway, Gateways

BURST_S: Final = int(os.environ.get("TEST_PREEMPTION_BURST_S", "12"))
FULL: Final = BURST_S >= 60
RATE: Final = float(os.environ.get("TEST_PREEMPTION_RATE", "0.27" if FULL else "0.6"))
"""Requests a second of each of eight clients; twelve seconds fill an engine only at a higher one."""
PROFILE: Final = "a10g-7b"
ADMIN: Final = "an-admin-key-for-a-test"
STALL_S: Final = 0.5 if FULL else 1.0
"""Shorter ones are the machine's, not the policy's: other work runs on its cores."""


@dataclass
class Watch(AbstractContextManager["Watch"]):
    """Asks the gateway four times a second; `times` are those when it was overloaded, `began` when the third job was
    there: two go before to see what words are made of (s, monotonic)."""

    gateway: Gateway
    times: list[float] = field(default_factory=list)
    began: float = 0.0

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.25):
            found = self.gateway.metrics()
            if any(sample.value for sample in found.matching("andante_pool_overloaded")):
                self.times.append(monotonic())
            if not self.began and sum(sample.value for sample in found.matching("andante_jobs_queued_total")) > 2:
                self.began = monotonic()

    def overloaded(self, start_s: float, end_s: float) -> bool:
        """Whether it was, within a second of that stretch of the run."""
        return any(start_s - 1 <= at - self.began <= end_s + 1 for at in self.times)


@dataclass
class Served:
    """One policy's run. `stalls` of all that read: when, for how long, and whether the pool was overloaded."""

    figures: dict[str, Any]
    pauses: int
    overloaded_s: float
    stalls: list[tuple[float, float, bool]]

    @property
    def unexcused(self) -> list[tuple[float, float, bool]]:
        return [stall for stall in self.stalls if not stall[2]]

    def row(self) -> str:
        worst = max((stall[1] for stall in self.stalls), default=0.0)
        calm = max((stall[1] for stall in self.unexcused), default=0.0)
        found = self.figures
        parts = (
            f"{found['jobs']} jobs",
            f"QoE {found['avg_qoe']:.3f}, p10 {found['p10_qoe']:.3f}",
            f"TTFT p50 {found['ttft_p50_s']:.2f} s, p90 {found['ttft_p90_s']:.2f} s",
            f"{found['output_tok_s']:.0f} tokens/s",
            f"{self.pauses} pauses",
            f"overloaded for {self.overloaded_s:.0f} s",
            f"stalls over {STALL_S} s: {len(self.stalls)}, worst {worst:.2f} s",
            f"while not overloaded: {len(self.unexcused)}, worst {calm:.2f} s",
            f"generator late p99 {found['lag_p99_ms']:.0f} ms",
        )
        return "; ".join(parts)


def workload(policy: str, out: Path) -> list[str]:
    """The burst, and half the load for as long."""
    sets = {"burst_s": BURST_S, "rest_s": BURST_S, "burst": 1.5 * RATE, "rest": 0.5 * RATE}
    given = [word for name, value in sets.items() for word in ("--set", f"{name}={value}")]
    return ["--scenario", "preemption", "--seed", "2", *given, "--json", str(out / f"{policy}.json")]


def loadgen(*command: str) -> None:
    done = subprocess.run(
        python("loadgen", *command), capture_output=True, text=True, timeout=60 + 12 * BURST_S, check=False
    )
    assert done.returncode == 0, done.stderr


def figures(path: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())["policies"][name]
    return found


def live(policy: str, emulator: Emulators, gateway: Gateways, folder: Path) -> Served:
    engine = emulator(profile=PROFILE)
    queue = {"max_jobs": 5000, "max_jobs_per_tenant": 5000, "timeout_s": 900}
    pool = {"policy": policy, "assumed_output_tokens": 1, "queue": queue}
    served = gateway([engine], pool=pool, env={"ANDANTE_AUTH__ADMIN_KEY": ADMIN})
    rows = folder / f"{policy}.csv.gz"
    target = ("--target", served.url, "--admin-key", ADMIN, "--model", engine.model, "--records", str(rows))
    with Watch(served) as watch:
        loadgen("attack", *target, *workload(policy, folder))
    records = list(read_records(rows))
    assert {record.outcome for record in records} == {"finished"}
    watch.began -= records[0].arrived_s
    stalls = [
        (at, record.stall_s, watch.overloaded(at, at + record.stall_s))
        for record in records
        if (at := record.stalled_s) is not None and record.stall_s is not None and record.stall_s > STALL_S
    ]
    pauses = round(sum(sample.value for sample in served.metrics().matching("andante_legs_paused_total")))
    return Served(figures(folder / f"{policy}.json", "live"), pauses, 0.25 * len(watch.times), stalls)


def test_a_burst_is_shared_by_pausing_who_is_ahead(emulator: Emulators, gateway: Gateways, tmp_path: Path) -> None:
    """Everybody ends, pauses happen, and nobody's text runs out while the pool can keep up with its readers.

    At full size the gain over first come, first served is the simulator's.
    """
    require_quiet_machine()
    fair = live("fair_qoe", emulator, gateway, tmp_path)
    print(f"\nlive fair_qoe: {fair.row()}")
    assert fair.pauses
    assert not fair.unexcused, fair.stalls
    if not FULL:
        return
    fcfs = live("fcfs", emulator, gateway, tmp_path)
    print(f"live fcfs: {fcfs.row()}")
    out = workload("simulated", tmp_path)
    loadgen("simulate", "--engine", PROFILE, "--policy", "fcfs,fair_qoe", *out)
    before, after = (figures(tmp_path / "simulated.json", policy)["avg_qoe"] for policy in ("fcfs", "fair_qoe"))
    expected, seen = after / before, fair.figures["avg_qoe"] / fcfs.figures["avg_qoe"]
    print(f"simulated: fcfs {before:.3f}, fair_qoe {after:.3f}, factor {expected:.3f}; live {seen:.3f}")
    assert seen > 0.85 * expected
