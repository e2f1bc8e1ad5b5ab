"""Where the gateway's CPU goes: py-spy's stacks under the harness's load, summed by component."""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from loadgen.arguments import count
from loadgen.stage import MODEL, built, gateway, mock_engine

# The innermost frame that matches tells the component; native code below it (socket calls, parsers) counts for it.
COMPONENTS: Final[tuple[tuple[str, str], ...]] = (
    ("write to the client (the system call included)", r"Wire\.write|write_body"),
    ("read from the engine: protocol, HTTP parser", r"gateway/engines/wire\.py"),
    ("events: split, decode, count", r"gateway/engines/(sse|relay|leg)\.py"),
    ("stream: pace, hand over", r"gateway/runtime/stream\.py"),
    (
        "accounts: scheduler, limits, metrics",
        r"gateway/(core|stores|observability/metrics|runtime/accounting)|prometheus",
    ),
    ("log", r"gateway/observability/logs|logging/__init__"),
    ("request: our API code", r"gateway/(api|runtime)/"),
    ("request: engine's connection and body", r"gateway/engines/"),
    ("request: FastAPI, Starlette, pydantic", r"fastapi/|starlette/|pydantic|anyio/"),
    ("request: uvicorn", r"uvicorn/"),
)
REST: Final = "event loop (uvloop, asyncio), the rest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m loadgen profile`."""
    parser.add_argument("--harness", type=Path, required=True, metavar="DIR", help="the overhead harness")
    parser.add_argument("--pace", choices=("machine", "reading"), default="machine", help="default: %(default)s")
    parser.add_argument("--duration", type=count, default=20, help="seconds sampled (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Sample 100 streams x 50 token/s and print the shares."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="andante-profile-")))
        harness = built(args.harness, folder)
        engine = stack.enter_context(mock_engine(harness))
        target = stack.enter_context(gateway(folder, engine.port, args.pace))
        url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
        load = [str(harness / "sseload"), "--url", url, "--model", MODEL, "--api-key", target.key]
        load += ["--streams", "100", "--tokens", "250", "--rate", "50", "--duration", str(args.duration + 6)]
        client = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stacks = folder / "stacks.txt"
        spy = ["py-spy", "record", "--format", "raw", "--rate", "200", "--duration", str(args.duration)]
        spy = [str(Path(sys.executable).with_name(spy[0])), *spy[1:], "--pid", str(target.pid), "--output", str(stacks)]
        subprocess.run(spy, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client.wait(timeout=60)
        shares = by_component(stacks.read_text().splitlines())
    for name, share in shares:
        print(f"{name:52} {100 * share:5.1f} %")
    return 0


def by_component(stacks: Iterable[str]) -> list[tuple[str, float]]:
    """Folded stacks (`frame;frame;frame count`, outermost first) as shares, the largest first."""
    counts: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        counts[_component(stack.split(";"))] += int(count)
    total = counts.total() or 1
    return [(name, count / total) for name, count in counts.most_common()]


def _component(frames: list[str]) -> str:
    for frame in reversed(frames):
        for name, pattern in COMPONENTS:
            if re.search(pattern, frame):
                return name
    return REST
