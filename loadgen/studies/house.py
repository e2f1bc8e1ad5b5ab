"""A gateway with one emulated engine behind it, each in a process of its own, for studies over the network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.demo import MODEL, emulated_engine
from gateway.emulator.profiles import Profile

ADMIN_KEY: Final = "only-for-a-study-on-this-machine"
CONFIG: Final = """
[server]
port = 0
log_level = "error"
[store]
path = "{folder}/{policy}.db"
[auth]
admin_key = "{admin}"
[[pools]]
model = "{model}"
policy = "{policy}"
assumed_output_tokens = 1
first_token_timeout_s = 3600
answer_timeout_s = 3600
[pools.queue]
max_jobs = 1000000
max_jobs_per_tenant = 1000000
timeout_s = 3600
[[pools.engines]]
url = "{engine}"
max_running = {seats}
"""
"""No queue limits, and memory counted as it fills: as in the simulator, so that the two can be compared."""


@dataclass(frozen=True, slots=True)
class House:
    """A gateway that is ready."""

    url: str
    admin_key: str = ADMIN_KEY
    model: str = MODEL


@contextmanager
def house(folder: Path, profile: Profile, policy: str) -> Iterator[House]:
    """Its files are in `folder`; both processes end with the context. RuntimeError when the gateway does not start."""
    with emulated_engine(profile.name, "--max-num-seqs", str(profile.max_num_seqs)) as engine:
        config = folder / f"{policy}.toml"
        text = CONFIG.format(
            folder=folder, policy=policy, admin=ADMIN_KEY, model=MODEL, engine=engine, seats=profile.max_num_seqs
        )
        config.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        # Settings that a shell has for another gateway are not this one's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANDANTE_")}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            yield House(_address(process))
        finally:
            process.terminate()
            process.wait(timeout=60)


def _address(process: subprocess.Popen[str]) -> str:
    """The URL in the line that says that it is ready."""
    assert process.stdout is not None  # asked for
    for line in process.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    raise RuntimeError("the gateway did not start; its message is above")
