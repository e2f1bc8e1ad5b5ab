"""Start a program, wait until it is ready, keep its output, end it and all that it started.

Each program leads a process group of its own, and only that group is ever signalled. Starting blocks; a test
with an event loop that must not stall uses `asyncio.to_thread`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
"""Enough for a Python program on a busy machine with two cores, where another test begins to load a model."""

KEPT_LINES = 2000


class Process:
    """A running program with its output (stdout and stderr as one)."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.command = list(command)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._changed = threading.Condition()
        self._popen = subprocess.Popen(
            self.command,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output-{self.pid}", daemon=True)
        self._reader.start()

    def __repr__(self) -> str:
        state = "running" if self.alive() else f"exit {self._popen.returncode}"
        return f"<Process {self.pid} {state}: {' '.join(self.command)}>"

    @property
    def pid(self) -> int:
        """Of the program itself, which leads the group of the same number."""
        return self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        """What it has printed so far (the last lines, if it was very much)."""
        with self._changed:
            return "".join(self._lines)

    def wait_line(self, start: str, timeout: float = READY_S) -> str:
        """The first line that begins with `start`, without its end."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = next((line for line in self._lines if line.startswith(start)), None)
                if found is not None:
                    return found.rstrip("\n")
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    break
                self._changed.wait(min(left, 0.2))
        if self._reader.is_alive():
            self._popen.send_signal(signal.SIGABRT)  # a Python program says where it stands
        self._reader.join(5.0)
        with contextlib.suppress(subprocess.TimeoutExpired):  # its output has ended, so it is ending
            self._popen.wait(1.0)
        raise AssertionError(f"no line {start!r} from {self!r}; it said:\n{self.output()}")

    def wait_http(self, url: str, timeout: float = READY_S) -> None:
        """Return when `url` answers 200."""
        deadline = time.monotonic() + timeout
        with httpx2.Client(timeout=2.0, trust_env=False) as client:
            while self.alive() and time.monotonic() < deadline:
                with contextlib.suppress(httpx2.TransportError):
                    if client.get(url).status_code == httpx2.codes.OK:
                        return
                with self._changed:
                    self._changed.wait(0.05)
        raise AssertionError(f"{url} not ready, {self!r}; it said:\n{self.output()}")

    def wait(self, timeout: float = 10.0) -> int:
        """The exit status of the program, which must end by itself."""
        status = self._popen.wait(timeout)
        self._reader.join(1.0)
        return status

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self._popen.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM, and SIGKILL to the whole group after `timeout` or when it has ended; its exit status."""
        if self.alive():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to the whole group, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._popen.wait(10.0)
        self._reader.join(5.0)
        return status

    def _read(self) -> None:
        pipe = self._popen.stdout
        assert pipe is not None
        with pipe:
            for line in pipe:
                with self._changed:
                    self._lines.append(line.decode(errors="replace"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


@contextlib.contextmanager
def running(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Iterator[Process]:
    """A process for the length of a block; where the block fails, its output goes to the test's report."""
    process = Process(command, env=env, cwd=cwd)
    try:
        yield process
    except BaseException:
        sys.stderr.write(f"--- {process!r}\n{process.output()}")
        raise
    finally:
        process.stop()


def members(group: int) -> list[int]:
    """The processes of a group that still run (the dead that nobody has waited for do not count)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _parent, leader = stat.read_text().rpartition(")")[2].split()[:3]
            if int(leader) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


def python(*arguments: str) -> list[str]:
    """The command for `python -m ...` in the environment of the tests."""
    return [sys.executable, "-m", *arguments]
