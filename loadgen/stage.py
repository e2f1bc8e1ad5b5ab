"""What is measured, as processes: the harness's mock engine, nginx, and the gateway with everything on."""

import os
import shutil
import socket
import string
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODEL: Final = "mock-model"
CONFIG: Final = """
[server]
port = {port}
[store]
path = "{folder}/{name}.db"
[[pools]]
model = "{model}"
pace = "{pace}"
[[pools.engines]]
url = "http://127.0.0.1:{engine}"
kind = "openai"
max_running = 4096
"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something to measure: its port, its process (None: the mock itself) and its key."""

    name: str
    port: int
    pid: int
    key: str = "none"


def built(source: Path, folder: Path) -> Path:
    """A compiled copy of the harness: the original may be read-only."""
    harness = folder / "harness"
    shutil.copytree(source, harness, copy_function=shutil.copy)
    subprocess.run(["make", "-C", str(harness), "mockllm", "sseload"], check=True, stdout=subprocess.DEVNULL)
    return harness


@contextmanager
def mock_engine(harness: Path) -> Iterator[Candidate]:
    """The mock engine, on the core that the gateway does not have."""
    port = free_port()
    with program([str(harness / "mockllm"), "--port", str(port), "--model", MODEL], "1", port) as process:
        yield Candidate("direct", port, process.pid)


@contextmanager
def nginx(harness: Path, folder: Path, mock_port: int) -> Iterator[Candidate]:
    """nginx with the harness's own configuration (proxy_buffering off, one worker)."""
    port = free_port()
    work = folder / "nginx"
    work.mkdir()
    values = {
        "workdir": work,
        "host": "127.0.0.1",
        "port": port,
        "backend_host": "127.0.0.1",
        "backend_port": mock_port,
    }
    configuration = string.Template((harness / "conf" / "nginx.conf").read_text()).substitute(values)
    (work / "nginx.conf").write_text(configuration)
    command = ["nginx", "-c", str(work / "nginx.conf"), "-p", str(work), "-e", str(work / "error.log")]
    with program(command, "0", port) as process:
        yield Candidate("nginx", port, process.pid)


@contextmanager
def gateway(folder: Path, mock_port: int, pace: str) -> Iterator[Candidate]:
    """A gateway process with everything on: keys, accounting, log, metrics."""
    name, port = f"gateway-{pace}", free_port()
    config = folder / f"{name}.toml"
    config.write_text(
        CONFIG.format(port=port, folder=folder, name=name, model=MODEL, pace=pace, engine=mock_port), encoding="utf-8"
    )
    create = [sys.executable, "-m", "gateway", "keys", "create", "--db", str(folder / f"{name}.db"), "--name", "bench"]
    key = subprocess.run(create, check=True, capture_output=True, text=True).stdout.split()[0]
    with program([sys.executable, "-m", "gateway", "serve", "--config", str(config)], "0", port) as process:
        yield Candidate(name, port, process.pid, key)


@contextmanager
def program(command: Sequence[str], cpu: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program pinned to one core, until it listens; ended afterwards."""
    pinned = ["taskset", "-c", cpu, *command] if (os.cpu_count() or 1) > 1 else list(command)
    process = subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(port: int, process: subprocess.Popen[bytes], timeout_s: float = 20.0) -> None:
    """Return once the port accepts; RuntimeError when the program ends or takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
