"""Sending requests and following their answers, whenever a loop (`loops`) says that one is due.

Latency counts from the planned time, so that a server that stalls is charged with all who would have come meanwhile
(no coordinated omission). The generator watches itself: how late it sent, and how much of its core it used.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from loadgen.connections import Connection, Target, clock
from loadgen.live_job import Asking, LiveJob, Tally
from loadgen.network import Network
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
    think_s: float | None = None
    """Mean thinking time of a closed loop; None: an open loop."""

    def part(self, number: int, parts: int) -> "Attack":
        """Every `parts`-th request, from `number` on; in a closed loop every `parts`-th client."""
        if self.think_s is None:
            return replace(self, requests=self.requests[number::parts])
        clients = set(list(dict.fromkeys(request.client for request in self.requests))[number::parts])
        return replace(self, requests=tuple(request for request in self.requests if request.client in clients))


@dataclass(slots=True)
class Outcome:
    """What came of an attack, or of one process's part of it."""

    records: list[JobRecord] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    cpu_share: float = 0.0
    interrupted: bool = False
    """Stopped before its end: who was being served then has left, and later requests were never sent."""

    def merge(self, other: "Outcome") -> None:
        """Add another process's part: exact, in order of arrival."""
        self.records = sorted(self.records + other.records, key=lambda record: record.index)
        self.tally.merge(other.tally)
        self.cpu_share = max(self.cpu_share, other.cpu_share)
        self.interrupted = self.interrupted or other.interrupted

    @property
    def bottleneck(self) -> str | None:
        """Why the generator itself, and not the server, may have set the figures; None if it kept up."""
        late_s = self.tally.lag.percentile(99) or 0.0
        if self.cpu_share > BUSY:
            return f"it used {self.cpu_share:.0%} of its core: use --processes"
        if late_s > LATE_S:
            late = f"1 % of the requests went out {late_s * 1000:.0f} ms late or more"
            return f"{late}, while it used {self.cpu_share:.0%} of a core: other programs keep it waiting"
        return None


class Sender:
    """Sends an attack's requests on the current event loop and keeps what becomes of them."""

    def __init__(self, attack: Attack, start: float, job: Callable[[Request, float], LiveJob] = LiveJob) -> None:
        """`start` is the clock's time of the workload's 0; `job` makes what follows an answer."""
        self.attack = attack
        self.start = start
        self.outcome = Outcome()
        self.sent = 0
        self.open = 0
        self._job = job
        self._target = Target(attack.url)

    def message(self, request: Request) -> bytes:
        """The request as bytes. Making a long prompt takes longer than sending it: to be done before it is due."""
        attack = self.attack
        words = attack.calibration.words(request.input_tokens)
        body = attack.asking.body(request, prompt(words, f"{attack.seed}:{request.index}"))
        key = attack.keys.get(request.client, attack.key)
        resumable = ("x-stream-resumable: 1",) if request.reader.gone else ()
        return self._target.request("POST", attack.asking.path, body, key, *resumable)

    async def due(self, request: Request) -> None:
        """Return when a request is due, and note how late that is; other tasks get their turn in any case."""
        planned = self.start + request.arrived_s
        await asyncio.sleep(max(0.0, planned - clock()))
        self.outcome.tally.lag.add(max(0.0, clock() - planned))

    async def send(self, request: Request, message: bytes) -> JobRecord:
        """Send, and wait until the answer ends, the reader leaves, or it has taken too long."""
        job = self._job(request, self.start + request.arrived_s)
        self.sent += 1
        self.open += 1
        try:
            await self._followed(job, message)
        except asyncio.CancelledError:
            job.close("left", clock(), "interrupted")
            raise
        finally:
            self.open -= 1
            record = job.record(self.start, self.outcome.tally)
            self.outcome.records.append(record)
        return record

    async def _followed(self, job: LiveJob, message: bytes) -> None:
        leaves = job.request.reader.leaves_after_s
        patience = self.attack.timeout_s if leaves is None else min(leaves, self.attack.timeout_s)
        patient = asyncio.timeout(job.planned + patience - clock())
        try:
            async with patient:
                await self._visits(job, message)
        except TimeoutError:
            gone = patience == leaves and patient.expired()  # a connection that was not to be had is no leaving
            job.close("left" if gone else "failed", clock(), None if gone else "timeout")
        except OSError as problem:
            job.close("failed", clock(), f"connect: {problem.strerror or type(problem).__name__}")

    async def _visits(self, job: LiveJob, message: bytes) -> None:
        """All connections of a reader who goes and comes back; one, of everybody else."""
        for left, back in job.request.reader.gone:
            if await self._read(job, message, job.planned + left):
                return
            if job.stream_id is None:
                job.close("left", clock(), "nothing to come back to")
                return
            await asyncio.sleep(max(0.0, job.planned + back - clock()))
            message = self._returning(job, job.stream_id)
            job.again()
        await self._read(job, message, None)

    async def _read(self, job: LiveJob, message: bytes, until: float | None) -> bool:
        """Whether the answer ended before `until`; if not, the connection is closed then."""
        connection: Connection | None = None
        over = False
        visit = asyncio.timeout(None if until is None else until - clock())
        try:
            async with visit:
                connection = await self._target.connection()
                if not await _answered(job, message, connection):
                    connection = await self._target.connection(fresh=True)
                    await _answered(job.again(), message, connection)
                over = True
        except TimeoutError:
            if not visit.expired():
                raise
            job.cut()
        finally:
            if connection is not None and not over:
                connection.abort()
        return over

    def _returning(self, job: LiveJob, stream_id: str) -> bytes:
        """The request that reads a stream on."""
        last = job.numbered.last if job.numbered is not None else 0
        behind = (f"last-event-id: {last}",) if last else ()
        key = self.attack.keys.get(job.request.client, self.attack.key)
        return self._target.request("GET", f"/v1/streams/{stream_id}", b"", key, *behind)

    def close(self) -> None:
        """Abort what is open."""
        self._target.close()


async def _answered(job: LiveJob, message: bytes, connection: Connection) -> bool:
    """Send over the reader's own network; false if the connection was closed before the request was seen."""
    reader = job.request.reader
    if reader.outages or reader.bytes_per_s is not None:
        job.network = Network(reader, job.planned, connection)
    try:
        connection.send(message, job)
        return await job.over
    finally:
        if job.network is not None:
            job.network.close()
            job.network = None
