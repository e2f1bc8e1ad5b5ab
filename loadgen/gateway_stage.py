"""Redis, emulated engines and gateway workers as processes, and what is seen of them while a load runs."""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import httpx2

ADMIN_KEY: Final = "only-for-this-measurement"
MODEL: Final = "andante-emulated"
LOOK_S: Final = 0.1
READY_S: Final = 60.0
CONFIG: Final = """
[server]
port = {port}
log_level = "warning"
[store]
path = "{folder}/keys.db"
[auth]
admin_key = "{key}"
{redis}
[[pools]]
model = "{model}"
policy = "{policy}"
queue = {{ max_jobs = 100000, max_jobs_per_tenant = 100000, timeout_s = 3600 }}
{engines}
"""
ENGINE: Final = """
[[pools.engines]]
url = "http://127.0.0.1:{port}"
max_running = {seats}
"""


class Stage:
    """Everything for one measurement; a context manager that ends what it started. No gateways: one, without Redis."""

    def __init__(self, folder: Path, gateways: int, args: argparse.Namespace) -> None:
        self._folder = folder
        self._alone = gateways == 0
        self._gateways = max(1, gateways)
        self._args = args
        self._stack = ExitStack()
        self.redis = 0
        self.engines: list[int] = []
        self.workers: list[int] = []
        self.parent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        args, folder = self._args, self._folder
        ports = free_ports(args.engines + self._gateways + 2)
        self.redis, port, *rest = ports
        self.engines, self.workers = rest[: args.engines], rest[args.engines :]
        begin(stack, ["redis-server", "--port", str(self.redis), "--dir", str(folder), "--save", ""])
        for each in self.engines:
            flags = ["--port", str(each), "--profile", args.profile, "--max-num-seqs", str(args.seats)]
            begin(stack, [sys.executable, "-m", "gateway", "emulate", *flags])
        engines = "".join(ENGINE.format(port=each, seats=args.seats) for each in self.engines)
        redis = "" if self._alone else f'[redis]\nurl = "redis://127.0.0.1:{self.redis}"'
        values = {"folder": folder, "key": ADMIN_KEY, "redis": redis, "model": MODEL, "policy": args.policy}
        config = folder / "andante.toml"
        config.write_text(CONFIG.format(port=port, engines=engines, **values), encoding="utf-8")
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--workers", str(self._gateways)]
        # Each worker listens on a port of its own as well; the ports follow each other.
        first = free_run(self._gateways)
        self.workers = [first + number for number in range(self._gateways)]
        self.parent = begin(stack, [*command, "--worker-port", str(first)])
        self.attack = ["--target", f"http://127.0.0.1:{port}", "--admin-key", ADMIN_KEY, "--model", MODEL]
        self._wait_for_leases()

    def _wait_for_leases(self) -> None:
        """Until all engines are given out."""
        deadline = time.monotonic() + READY_S
        wanted = self._args.engines * self._args.seats
        while time.monotonic() < deadline:
            found = [metrics(port) for port in self.workers]
            name = "andante_engine_ready" if self._alone else "andante_lease_seats"
            if sum(total(text, name) for text in found) >= (self._args.engines if self._alone else wanted):
                return
            time.sleep(0.2)
        raise RuntimeError("the gateways did not become ready")

    def gateway_pids(self) -> list[int]:
        """The workers' processes."""
        assert self.parent is not None  # started
        listed = Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in listed.split()]


class Watch:
    """Looks at the engines' own queues and at CPU time while a command runs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._worst = 0.0
        self._before = self._after = Reading()
        self._made: list[float] = []  # tokens of each worker, between the last two readings

    async def during(self, command: Sequence[str]) -> None:
        """Run it, and look."""
        self._before = self._read()
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        looking = asyncio.create_task(self._look())
        status = await process.wait()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        self._after = self._read()
        if status:
            raise RuntimeError(f"the attack ended with status {status}")

    async def _look(self) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as http:
            while True:
                for port in self._stage.engines:
                    text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                    self._worst = max(self._worst, total(text, "vllm:num_requests_waiting"))
                await asyncio.sleep(LOOK_S)

    def _read(self) -> "Reading":
        found = [metrics(port) for port in self._stage.workers]
        cpu = sum(cpu_s(pid) for pid in self._stage.gateway_pids())
        made = [total(text, "andante_tokens_produced_total") for text in found]
        self._made = [after - before for after, before in zip(made, self._made or [0.0] * len(made), strict=True)]
        tokens = sum(made)
        commands = sum(total(text, "andante_redis_operations_total") for text in found)
        return Reading(cpu, tokens, commands, *machine())

    def figures(self) -> dict[str, Any]:
        """What was seen; `cpu_share`: of all cores, of the whole machine, other programs included."""
        cpu, tokens, commands, used, whole = (b - a for a, b in zip(self._before, self._after, strict=True))
        return {
            "worst_engine_queue": self._worst,
            "gateway_cpu_us_per_token": 1e6 * cpu / max(1.0, tokens),
            "redis_ops_per_token": commands / max(1.0, tokens),
            "tokens": tokens,
            "busiest_gateway_share": max(self._made) / max(1.0, tokens),
            "cpu_share": used / max(1.0, whole),
        }


class Reading(NamedTuple):
    """CPU seconds of the gateways, tokens, commands sent to Redis; the machine's used and whole time (ticks)."""

    cpu_s: float = 0.0
    tokens: float = 0.0
    commands: float = 0.0
    used: float = 0.0
    whole: float = 0.0


def machine() -> tuple[float, float]:
    """Used and whole time of all cores since the machine started (ticks)."""
    fields = [int(each) for each in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]]
    return float(sum(fields) - fields[3] - fields[4]), float(sum(fields))


def begin(stack: ExitStack, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A process that ends with the stack."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait, timeout=60)
    stack.callback(process.terminate)
    return process


def metrics(port: int) -> str:
    """The exposition at a port; empty while nobody answers."""
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=5.0).text
    except httpx2.HTTPError:
        return ""


def total(text: str, name: str) -> float:
    """The sum of a metric's series."""
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def free_run(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        (first,) = free_ports(1)
        with ExitStack() as stack:
            try:
                for number in range(count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", first + number))
            except (OSError, OverflowError):
                continue
        return first
