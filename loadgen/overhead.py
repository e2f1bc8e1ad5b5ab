"""What the gateway costs: nginx and the gateway side by side in one run, before a mock engine with a known schedule.

The harness (a folder given by the user) brings the mock engine, the load client and the measuring. This module starts
what is to be measured, pins it, asks the harness in rounds so that a slow moment of the machine hits everyone, and
divides.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from loadgen.arguments import count, positive
from loadgen.outputs import prepare
from loadgen.stage import MODEL, Candidate, built, gateway, mock_engine, nginx

LIMITS: Final[Mapping[str, float]] = {"machine_ratio": 3.5, "paced_ratio": 1.2, "p50_ms": 4, "p99_ms": 25, "kib": 60}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m loadgen overhead`."""
    parser.add_argument("--harness", type=Path, required=True, metavar="DIR", help="the overhead harness")
    parser.add_argument("--rounds", type=count, default=3, help="rounds over all candidates (default: %(default)s)")
    parser.add_argument("--duration", type=positive, default=8.0, help="seconds of each window (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every figure here")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 when every limit is kept."""
    if shutil.which("nginx") is None:
        print("overhead: nginx is needed for the comparison; install it first", file=sys.stderr)
        return 2
    prepare(args.json)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andante-overhead-")))
        harness = built(args.harness, folder)
        direct = stack.enter_context(mock_engine(harness))
        mock_port = direct.port
        candidates = [
            direct,
            stack.enter_context(nginx(harness, folder, mock_port)),
            stack.enter_context(gateway(folder, mock_port, "machine")),
            stack.enter_context(gateway(folder, mock_port, "reading")),
        ]
        rounds = [measure_round(harness, candidates, mock_port, args.duration, n) for n in range(1, args.rounds + 1)]
    summary = summarise(rounds)
    if args.json is not None:
        args.json.write_text(json.dumps({"summary": summary, "rounds": rounds}, indent=1) + "\n")
    return report(summary)


def measure_round(
    harness: Path, candidates: Sequence[Candidate], mock_port: int, duration: float, number: int
) -> dict[str, Any]:
    """One pass over the candidates: CPU for all, latency for direct and machine pace, memory for machine pace."""
    results: dict[str, Any] = {}
    for candidate in candidates:
        tests = {"direct": "latency", "nginx": "cpu", "gateway-machine": "rss,cpu,latency"}.get(candidate.name, "cpu")
        print(f"round {number}: {candidate.name} ({tests})", file=sys.stderr, flush=True)
        out = harness / f"{candidate.name}-{number}.json"
        url = f"http://127.0.0.1:{candidate.port}/v1/chat/completions"
        command = [sys.executable, str(harness / "gwbench.py"), "--url", url, "--model", MODEL, "--out", str(out)]
        command += ["--api-key", candidate.key, "--pid", str(candidate.pid), "--mock", f"http://127.0.0.1:{mock_port}"]
        command += ["--bench-cpus", "1", "--proxy-cpus", "0", "--duration", str(duration), "--tests", tests]
        command += ["--repeats", "1", "--cpu-repeats", "1"]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        results[candidate.name] = json.loads(out.read_text())
    return results


def summarise(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over the rounds; every ratio is taken within its round, where the machine was the same."""

    def cpu(one: Mapping[str, Any], name: str) -> float:
        return float(one[name]["cpu"]["streams_100"]["cpu_us_per_token_raw"])

    def added(one: Mapping[str, Any], key: str) -> float:
        ours, direct = one["gateway-machine"]["latency"][key], one["direct"]["latency"][key]
        return float(ours - direct) / 1000

    def median(values: Iterator[float]) -> float:
        return round(statistics.median(values), 2)

    names = ("nginx", "gateway-machine", "gateway-reading")
    return {
        **{f"{name}_cpu_us_per_token": median(cpu(one, name) for one in rounds) for name in names},
        "machine_ratio": median(cpu(one, "gateway-machine") / cpu(one, "nginx") for one in rounds),
        "paced_ratio": median(cpu(one, "gateway-reading") / cpu(one, "nginx") for one in rounds),
        "p50_ms": median(added(one, "ttft_p50_us") for one in rounds),
        "p99_ms": median(added(one, "ttft_p99_us") for one in rounds),
        # The harness gives MB per 1,000 streams, so KiB per stream but for the factor 1024/1000.
        "kib": median(one["gateway-machine"]["rss"]["rss_mb_per_1000"] * 1.024 for one in rounds),
    }


def report(summary: Mapping[str, float]) -> int:
    """Print the table; 1 if a limit is broken."""
    names = {
        "machine_ratio": "CPU per token over nginx's, every token at once",
        "paced_ratio": "CPU per token over nginx's, paced readers",
        "p50_ms": "added time to first token, p50 (ms)",
        "p99_ms": "added time to first token, p99 (ms)",
        "kib": "memory per open idle stream (KiB)",
    }
    for key, value in summary.items():
        limit = LIMITS.get(key)
        verdict = "" if limit is None else f"  limit {limit:g}  {'ok' if value <= limit else 'MISSED'}"
        print(f"{names.get(key, key):50} {value:8.2f}{verdict}")
    return int(any(summary[key] > limit for key, limit in LIMITS.items()))
