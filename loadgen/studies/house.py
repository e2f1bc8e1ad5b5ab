"""A gateway with one emulated engine behind it, each in a process of its own, for studies over the network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.emulator.profiles import Profile

MODEL: Final = "andante-emulated"
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
    """Its files are in `folder`; both processes end with the context. RuntimeError when one does not start."""
    sizes = ("--profile", profile.name, "--max-num-seqs", str(profile.max_num_seqs))
    with _served("emulate", "--port", "0", "--model", MODEL, *sizes) as engine:
        config = folder / f"{policy}.toml"
        text = CONFIG.format(
            folder=folder, policy=policy, admin=ADMIN_KEY, model=MODEL, engine=engine, seats=profile.max_num_seqs
        )
        config.write_text(text, encoding="utf-8")
        with _served("serve", "--config", str(config)) as url:
            yield House(url)


@contextmanager
def _served(*words: str) -> Iterator[str]:
    """One of the project's own servers as a process; its URL, which it prints when it is ready."""
    # Settings that a shell has for another gateway are not this one's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANDANTE_")}
    command = [sys.executable, "-m", "gateway", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None  # asked for
            ready = next((line for line in process.stdout if line.startswith("ready ")), None)
            if ready is None:
                raise RuntimeError(f"`{words[0]}` did not start; its message is above")
            yield ready.split()[1]
        finally:
            process.terminate()
