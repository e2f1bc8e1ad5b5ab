"""One request of an attack: sent at its planned time, followed to its end, and made into a record."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.core.qoe import Ending, exact_qoe
from loadgen.answers import MAX_ERROR_BYTES, Answer, error_of
from loadgen.histogram import Histogram
from loadgen.network import Network
from loadgen.numbered import NumberedEvents
from loadgen.records import JobRecord, Outcome
from loadgen.workload import Request

OK: Final = 200
REFUSALS: Final = frozenset({429, 503, 504})
"""Statuses of a server that is there and has no room: the job counts as rejected. Others are failures."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How requests are written. `plain` leaves out what is not in OpenAI's API."""

    model: str
    chat: bool = True
    plain: bool = False

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.chat else "/v1/completions"

    def body(self, request: Request, text: str) -> bytes:
        """The JSON of a streamed request for exactly `request.output_tokens` tokens."""
        fields: dict[str, Any] = {
            "model": self.model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": request.output_tokens,
            **({"messages": [{"role": "user", "content": text}]} if self.chat else {"prompt": text}),
        }
        if not self.plain:
            fields |= {"min_tokens": request.output_tokens, "ignore_eos": True, "return_token_ids": True}
            fields["pace"] = pace_field(request)
        return msgspec.json.encode(fields)


def pace_field(request: Request) -> str | Mapping[str, float]:
    """The reader's pace as the gateway's request field: exact numbers, since each client has a speed of its own."""
    pace = request.pace
    return {"ttft": pace.ttft_s, "rate": pace.rate} if pace.paced else "machine"


@dataclass(slots=True)
class Tally:
    """What is added up while jobs end: bounded, and the sum of several processes' tallies is exact."""

    itl: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    counting: dict[str, int] = field(default_factory=dict)
    returns: int = 0
    lost: int = 0
    doubled: int = 0
    """Readers' returns that were served; events or tokens that readers who came back never got, or got twice."""

    def merge(self, other: "Tally") -> None:
        """Add another process's."""
        self.itl.merge(other.itl)
        self.lag.merge(other.lag)
        for name, count in other.counting.items():
            self.counting[name] = self.counting.get(name, 0) + count
        self.returns += other.returns
        self.lost += other.lost
        self.doubled += other.doubled


class LiveJob:
    """The owner of one answer. `over` is done when nothing more will come; false if the request was never seen."""

    def __init__(self, request: Request, planned: float) -> None:
        """`planned` is the arrival by the clock: what is measured counts from there, whenever it was sent."""
        self.request = request
        self.planned = planned
        self.numbered = NumberedEvents() if request.reader.gone else None
        self.answer = Answer(self.numbered)
        self.stream_id: str | None = None
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended = planned
        self.network: Network | None = None
        self._status = 0
        self._queue_s: float | None = None
        self._returns = 0
        self._refusal = b""
        self._outcome: Outcome | None = None
        self._error: str | None = None

    # ---- the connection's side

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self._status = status
        if self.numbered is not None:
            if self.stream_id is not None and status == OK:
                self._returns += 1
            self.stream_id = headers.get(b"x-stream-id", b"").decode("latin-1") or None
        queue_ms = headers.get(b"x-queue-ms", b"")
        self._queue_s = int(queue_ms) / 1000 if queue_ms.isdigit() else None

    def body(self, data: bytes, now: float) -> None:
        if self._status == OK:
            for part, at in ((data, now),) if self.network is None else self.network.arrivals(data, now):
                self.answer.feed(part, at)
        elif len(self._refusal) < MAX_ERROR_BYTES:
            self._refusal += data

    def end(self, now: float) -> None:
        if self.network is not None:
            now = max(now, self.network.free_at)
        if self._status != OK:
            code = error_of(self._refusal)
            kind = f"{self._status} {code}" if code else str(self._status)
            self.close("rejected" if self._status in REFUSALS else "failed", now, kind)
        elif self.answer.error is not None:
            self.close("failed", now, self.answer.error)
        elif not self.answer.done:
            self.close("failed", now, "cut short")
        else:
            self.close("finished", now)

    def lost(self, now: float, *, stale: bool) -> None:
        if stale and not self.over.done():
            self.over.set_result(False)
        else:
            self.close("failed", now, "connection lost")

    def again(self) -> "LiveJob":
        """For a second connection, after the first was closed before it was used."""
        self.over = asyncio.get_running_loop().create_future()
        return self

    def cut(self) -> None:
        """The reader has closed the connection and will be back."""
        if self.numbered is not None:
            self.numbered.cut()

    def close(self, outcome: Outcome, now: float, error: str | None = None) -> None:
        """The first end counts."""
        if self._outcome is None:
            self._outcome, self._error, self.ended = outcome, error, now
            if not self.over.done():
                self.over.set_result(True)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        return self._outcome

    # ---- afterwards

    def record(self, start: float, tally: Tally) -> JobRecord:
        """The job as a row, in seconds since `start`; its token times go into the tally."""
        request, answer, pace = self.request, self.answer, self.request.pace
        outcome = self._outcome or "failed"
        if answer.pieces:
            tally.counting[answer.counting] = tally.counting.get(answer.counting, 0) + 1
        self._gaps(tally.itl)
        self._completeness(tally)
        usage = answer.usage
        first, last = answer.first_at, answer.last_at
        stall_s, stalled = answer.stall(pace.rate) if pace.paced and not request.reader.absent else (None, None)
        return JobRecord(
            index=request.index,
            client=request.client,
            weight=request.weight,
            arrived_s=request.arrived_s,
            input_tokens=(usage.prompt_tokens if usage is not None else 0) or request.input_tokens,
            output_tokens=request.output_tokens,
            pace_kind=pace.kind,
            ttft_due_s=pace.ttft_s,
            rate=pace.rate,
            outcome=outcome,
            started_s=None if self._queue_s is None else request.arrived_s + self._queue_s,
            first_token_s=None if first is None else first - start,
            last_token_s=None if last is None else last - start,
            ended_s=self.ended - start,
            produced=answer.produced,
            qoe=self._qoe(outcome),
            stall_s=stall_s,
            stalled_s=None if stalled is None else stalled - start,
            error=self._error,
        )

    def _qoe(self, outcome: Outcome) -> float:
        """As the reader had it, behind a pacer in the client."""
        endings = {"finished": Ending.FINISHED, "left": Ending.LEFT}
        ending = endings.get(outcome, Ending.FAILED)
        away = self.request.reader.absent
        deliveries = self.answer.deliveries(self.planned)
        return exact_qoe(self.request.pace, deliveries, ending, self.ended - self.planned, away)

    def _completeness(self, tally: Tally) -> None:
        """Of one who came back: by the events' numbers, and once it is whole by the server's own count of tokens."""
        if self.numbered is None or not self._returns:
            return
        told, usage = self.answer.told, self.answer.usage
        more = usage.completion_tokens - told if self._outcome == "finished" and usage and told is not None else 0
        tally.returns += self._returns
        tally.lost += self.numbered.lost + max(0, more)
        tally.doubled += self.numbered.doubled + max(0, -more)

    def _gaps(self, histogram: Histogram) -> None:
        """Time between tokens: those that came together are 0 apart."""
        before: float | None = None
        for piece in self.answer.pieces:
            if before is not None:
                histogram.add(piece.at - before)
            if piece.ids > 1:
                histogram.add(0.0, piece.ids - 1)
            before = piece.at
