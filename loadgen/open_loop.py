"""The open loop: every request goes out at its planned time, whatever became of the ones before.

Latency counts from the planned time, so that a server that stalls is charged with all who would have come meanwhile
(no coordinated omission). The generator watches itself: how late it sent, and how much of its core it used.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import uvloop

from loadgen.connections import Connection, Target, clock
from loadgen.live_job import Asking, LiveJob, Tally
from loadgen.prompts import Calibration, prompt
from loadgen.records import JobRecord
from loadgen.workload import Request

LATE_S: Final = 0.010
BUSY: Final = 0.9


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent where; picklable, so that several processes can each take a part."""

    url: str
    asking: Asking
    requests: tuple[Request, ...]
    keys: Mapping[str, str]
    key: str | None = None
    seed: int = 0
    calibration: Calibration = field(default_factory=Calibration)
    timeout_s: float = 600.0

    def part(self, number: int, parts: int) -> "Attack":
        """Every `parts`-th request, from `number` on."""
        return replace(self, requests=self.requests[number::parts])


@dataclass(slots=True)
class Outcome:
    """What came of an attack, or of one process's part of it."""

    records: list[JobRecord] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    cpu_share: float = 0.0

    def merge(self, other: "Outcome") -> None:
        """Add another process's part: exact, in order of arrival."""
        self.records = sorted(self.records + other.records, key=lambda record: record.index)
        self.tally.merge(other.tally)
        self.cpu_share = max(self.cpu_share, other.cpu_share)

    @property
    def bottleneck(self) -> str | None:
        """Why the generator itself, and not the server, may have set the figures; None if it kept up."""
        late_s = self.tally.lag.percentile(99) or 0.0
        if late_s > LATE_S:
            return f"1 % of the requests went out {late_s * 1000:.0f} ms late or more: use --processes"
        if self.cpu_share > BUSY:
            return f"the generator used {self.cpu_share:.0%} of its core: use --processes"
        return None


class OpenLoop:
    """Runs an attack on the current event loop. `records` grows as jobs end."""

    def __init__(self, attack: Attack, start: float, job: Callable[[Request, float], LiveJob] = LiveJob) -> None:
        """`start` is the clock's time of the workload's 0; `job` makes what follows an answer."""
        self.attack = attack
        self.start = start
        self.outcome = Outcome()
        self.sent = 0
        self._job = job
        self._target = Target(attack.url)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Requests under way."""
        return len(self._tasks)

    async def run(self) -> Outcome:
        """Send everything, wait for every end, and say what came."""
        cpu, begun = time.process_time(), clock()
        try:
            for request in self.attack.requests:
                await self._send_when_due(request)
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await self._stop()
        self.outcome.cpu_share = (time.process_time() - cpu) / max(clock() - begun, 1e-9)
        self.outcome.records.sort(key=lambda record: record.index)
        return self.outcome

    async def _send_when_due(self, request: Request) -> None:
        message = self.message(request)  # written before it is due: making a long prompt takes longer than sending it
        planned = self.start + request.arrived_s
        await until(planned, asyncio.sleep)
        self.outcome.tally.lag.add(max(0.0, clock() - planned))
        self.sent += 1
        task = asyncio.create_task(self._follow(self._job(request, planned), message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def message(self, request: Request) -> bytes:
        """The request as bytes."""
        attack = self.attack
        words = attack.calibration.words(request.input_tokens)
        body = attack.asking.body(request, prompt(words, f"{attack.seed}:{request.index}"))
        key = attack.keys.get(request.client, attack.key)
        return self._target.request("POST", attack.asking.path, body, key)

    async def _follow(self, job: LiveJob, message: bytes) -> None:
        """Send, and wait until the answer ends, the reader leaves, or it has taken too long."""
        leaves = job.request.reader.leaves_after_s
        patience = self.attack.timeout_s if leaves is None else min(leaves, self.attack.timeout_s)
        connection: Connection | None = None
        try:
            async with asyncio.timeout(job.planned + patience - clock()):
                connection = await self._target.connection()
                connection.send(message, job)
                if not await job.over:
                    connection = await self._target.connection(fresh=True)
                    connection.send(message, job.again())
                    await job.over
        except TimeoutError:
            if connection is not None:
                connection.abort()
            gone = patience == leaves
            job.close("left" if gone else "failed", clock(), None if gone else "timeout")
        except OSError as problem:
            job.close("failed", clock(), f"connect: {problem.strerror or type(problem).__name__}")
        self.outcome.records.append(job.record(self.start, self.outcome.tally))

    async def _stop(self) -> None:
        """However the run ended: no task and no connection stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._target.close()


async def until(moment: float, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Return at that moment of the clock, or at once if it has passed; other tasks get their turn in any case."""
    await sleep(max(0.0, moment - clock()))


def run_alone(measuring: Coroutine[None, None, Outcome]) -> Outcome:
    """Run on an event loop of its own, without pauses for garbage.

    A full collection looks through everything that was ever imported, a tenth of a second in which no time is taken.
    What exists is set aside; what a run makes is freed by counting, and its few cycles wait until it is over.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measuring)
    finally:
        gc.enable()
        gc.unfreeze()
