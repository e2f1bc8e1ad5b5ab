"""`andante serve --workers N`: N gateway processes behind one port.

The sockets are opened once and inherited, so a connection that nobody has accepted yet outlives the worker that might
have. A worker that dies is started again, after a pause that grows while it keeps dying. SIGTERM and SIGINT go to all
workers, which drain; a second one hurries them. A worker whose parent is gone sees the end of its standard input, and
drains too.
"""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 10.0  # a worker that has run for so long starts with the shortest pause again
FDS_FLAG: Final = "--inherited-fds"


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker is started with: its command, and the sockets that it serves."""

    command: Sequence[str]
    sockets: Sequence[socket.socket]


class Workers:
    """Keeps all workers running. `run` until a signal, or until one cannot even start."""

    def __init__(self, workers: Sequence[Worker], announce: Callable[[], None]) -> None:
        self._workers = workers
        self._announce = announce
        self._ready = 0
        self._running: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """The exit status: 0 after a signal, a worker's own if it ended before it ever served."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        statuses = await asyncio.gather(*keepers)
        return next((status for status in statuses if status), 0)

    def _signal(self) -> None:
        self._stopping.set()
        for process in tuple(self._running):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def _keep(self, worker: Worker) -> int:
        pause_s = FIRST_PAUSE_S
        first = True
        while not self._stopping.is_set():
            began = time.monotonic()
            status, served = await self._once(worker, counts=first)
            if first and not served and not self._stopping.is_set():
                self._signal()
                return status
            first = False
            if time.monotonic() - began > STEADY_S:
                pause_s = FIRST_PAUSE_S
            if not self._stopping.is_set():
                print(f"andante: a worker ended with status {status} and is started again", file=sys.stderr)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return 0

    async def _once(self, worker: Worker, *, counts: bool) -> tuple[int, bool]:
        """Run the worker once: its exit status, and whether it served."""
        fds = [each.fileno() for each in worker.sockets]
        process = await asyncio.create_subprocess_exec(
            *worker.command,
            FDS_FLAG,
            ",".join(map(str, fds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=fds,
            start_new_session=True,  # a terminal's Ctrl-C reaches the parent, which passes it on once
        )
        self._running.add(process)
        if self._stopping.is_set():
            process.terminate()
        assert process.stdout is not None  # a pipe, see above
        served = bool(await process.stdout.readline())
        if served and counts:
            self._ready += 1
            if self._ready == len(self._workers):
                self._announce()
        status = await process.wait()
        self._running.discard(process)
        return status, served


def inherited(fds: str) -> list[socket.socket]:
    """The sockets that a worker was given."""
    return [socket.socket(fileno=int(fd)) for fd in fds.split(",")]


def end_with_parent() -> None:
    """Drain when standard input ends. Needs a running event loop."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(0)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(0, ended)
