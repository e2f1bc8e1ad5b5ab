"""The demo's burst: two pools that differ in their policy only, and a load generator in a process of its own.

The load generator is not imported. It is a program, as it is for everybody else: it gets keys and an address, and says
on standard output how its readers fare.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gateway.errors import BurstRunning
from gateway.stores.base import KeyStore, NewKey

POLICIES: Final = ("fcfs", "fair_qoe")
TENANTS: Final = ("large", "small1", "small2", "small3")
PROFILE: Final = "a10g-7b"
PLACES: Final = 9
SCENARIO: Final = "demo_burst"
ENGINE_FLAGS: Final = ("--profile", PROFILE, "--max-num-seqs", str(PLACES))
MAX_LINES: Final = 1000
AGAIN_S: Final = 5.0


def available() -> bool:
    """Whether the load generator is installed, with what it needs."""
    return all(find_spec(name) is not None for name in ("loadgen", "numpy", "matplotlib"))


def model(policy: str) -> str:
    """The model's name in the pool of a policy."""
    return f"compare-{policy}"


def pool(policy: str, url: str, served: str) -> dict[str, Any]:
    """The configuration of a side; `served` is what its engine calls its model."""
    return {
        "model": model(policy),
        "policy": policy,
        "engines": [{"url": url, "served_model": served, "max_running": PLACES}],
    }


def make_keys(store: KeyStore, file: Path) -> None:
    """A key for each of the burst's tenants, in a file that only this user reads."""
    models = tuple(model(policy) for policy in POLICIES)
    issued = [
        f"{name},{store.create(NewKey(name=name, tenant=name, models=models), now=time.time()).secret}"
        for name in TENANTS
    ]
    file.touch(mode=0o600)
    file.write_text("\n".join(issued) + "\n", encoding="utf-8")


class DemoBurst:
    """Begins the burst and tells its followers; keeps the lines of the last one. `url` must be known by then."""

    def __init__(self, keys_file: Path) -> None:
        self.url = ""
        self._keys_file = keys_file
        self._lines: list[str] = []
        self._round = 0  # of bursts begun
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """BurstRunning while one is on its way."""
        if self._running is not None and not self._running.done():
            raise BurstRunning("A burst is on its way; it takes about a minute.", retry_after_s=AGAIN_S)
        self._lines = []
        self._round += 1
        self._running = asyncio.create_task(self._send())

    async def follow(self) -> AsyncIterator[str]:
        """The last burst from its beginning, and each later one."""
        at = (self._round, 0)
        while True:
            news = self._news
            if at[0] != self._round:
                at = (self._round, 0)
            for line in self._lines[at[1] :]:
                at = (at[0], at[1] + 1)
                yield line
            if news is self._news:
                await news.wait()

    async def close(self) -> None:
        """End the load generator, if it runs."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _send(self) -> None:
        process = await asyncio.create_subprocess_exec(*self._command(), stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None  # asked for
        try:
            async for line in process.stdout:
                if len(self._lines) < MAX_LINES:
                    self._tell(line.decode().strip())
            if await process.wait():
                self._tell('{"failed":"The load generator has failed; the terminal of the demo says why."}')
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()

    def _command(self) -> Sequence[str]:
        models = [model(policy) for policy in POLICIES]
        command = [sys.executable, "-m", "loadgen", "burst", "--target", self.url, "--keys-file", str(self._keys_file)]
        return [*command, "--scenario", SCENARIO, "--models", *models]

    def _tell(self, line: str) -> None:
        self._lines.append(line)
        news, self._news = self._news, asyncio.Event()
        news.set()
