"""One job's life: what its engine sends goes to its client, at the reader's pace, and ends once.

There is no task and no queue per token: the engine's read callback calls `events`, which writes to the client's
socket. A paced reader who is more than a second ahead gets groups: the engine's socket is left alone for a while and
then read in one gulp, so that reading and writing follow the reading, not the generation.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.clock import Clock
from gateway.core.limits import Reservation
from gateway.core.pace import Pace
from gateway.core.units import UnitRatio
from gateway.engines.base import Endpoint, Engine, Leg, LegRequest, Usage
from gateway.errors import EngineError, GatewayError
from gateway.runtime.course import Course
from gateway.runtime.sizing import PromptSize

GROUP_LEAD_S: Final = 1.0
GROUP_S: Final = 0.25
GRID_S: Final = 0.05
PRIOR_TOKENS: Final = 4.0  # what the first few tokens hold says little
_LEAST_HELD: Final = 0.25  # of a usual token's text: a token of a rare script may be a part of a character
_MOST_HELD: Final = 4.0  # long words of one token each
MAX_HELD: Final = 64  # reads that wait for a client whose socket still holds an earlier answer
COMMENT: Final = b": keep-alive\n"  # one line without a blank one: an SDK takes a blank line for an event


class Outlet(Protocol):
    """The client's socket."""

    def write(self, data: bytes) -> bool:
        """Send; False when the client does not keep up and nothing more should come until `Stream.resume`."""


class Meter(Protocol):
    """The tenant's limits, told the running total of tokens."""

    def settle(self, total_tokens: int) -> None: ...

    def release(self, total_tokens: int) -> None: ...


class StreamOwner(Protocol):
    """Who is told when a leg is over: the dispatcher."""

    def leg_over(self, stream: "Stream", error: EngineError | None) -> None: ...


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A validated, admitted request."""

    leg: LegRequest
    request_id: str
    tenant: str
    weight: float
    model: str
    size: PromptSize
    prompt_tokens: int
    max_tokens: int | None
    pace: Pace
    meter: Meter
    reservation: Reservation | None = None  # what the meter settles, for a gateway that goes on with the job

    @property
    def id(self) -> str:
        return self.leg.id

    @property
    def endpoint(self) -> Endpoint:
        return self.leg.endpoint


class Stream:
    """The sink of a job's legs and the source of its client's bytes.

    `head` is done when the first token is there (or the whole answer, or the failure before it); `end` when nothing
    more will come. `end`'s result is the error, None for a good end.
    """

    def __init__(self, request: JobRequest, owner: StreamOwner, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self.request = request
        self.arrived = clock.now()
        self.head: asyncio.Future[None] = loop.create_future()
        self.end: asyncio.Future[GatewayError | None] = loop.create_future()
        self.answer: bytes | None = None
        self.usage: Usage | None = None
        self.produced = 0
        self.delivered = 0
        self.flushed = 0
        self.units_per_token = 1.0  # of the pace's unit; the reader tells what a token holds for it
        self.qoe: float | None = None  # once it has ended
        self.legs = 0
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.last_heard = self.arrived
        self.last_sent = self.arrived
        self.blocked_at: float | None = None
        self.engine_id: str | None = None
        self.course = Course(request.leg)
        self.parked = False  # its reader is away: no engine, no place in the queue
        self.abandoned = False  # nobody reads: what was sent must not look like all of it
        self._owner = owner
        self._now = clock.now
        self._call_later = loop.call_later
        self._leg: Leg | None = None
        self._unheard = True  # the present leg has no token yet
        self._outlet: Outlet | None = None
        self._held: list[bytes] = []
        self._gulp: asyncio.TimerHandle | None = None
        self._rate = request.pace.rate if request.pace.paced else 0.0
        self._paced_from = 0.0

    # ---- the engine's side

    def events(self, data: bytes, tokens: int) -> None:
        """LegSink: part of a streamed answer."""
        now = self._now()
        self.last_heard = now
        if tokens:
            self.produced += tokens
            if self._unheard:
                self._hear(now)
        if self._outlet is None:
            self._held.append(data)
            if len(self._held) >= MAX_HELD:
                self.block()
        elif data:
            self._deliver(data, now)

    def counted(self, usage: Usage) -> None:
        """LegSink: the engine's own count."""
        self.usage = usage

    def completed(self) -> None:
        """LegSink: a streamed answer ended well."""
        self._leg_over(None)

    def answered(self, body: bytes, usage: Usage | None) -> None:
        """LegSink: the whole answer."""
        now = self._now()
        self.answer = body
        self.usage = usage
        self.produced = usage.completion_tokens if usage is not None else 0
        self.first_token_at = self.last_heard = now
        self.release_head()
        self._leg_over(None)

    def failed(self, error: Exception) -> None:
        """LegSink: the leg broke, or was found to be silent. What was held of it is forgotten if no token had come."""
        if not self.produced:
            self._held.clear()
        if self._leg is not None:
            self._leg.abort()
        self._leg_over(error if isinstance(error, EngineError) else EngineError(str(error)))

    def begin(self, engine: Engine, now: float) -> bool:
        """A leg was planned; False when the engine cannot go on with this stream."""
        self.engine_id = engine.settings.id
        self.legs += 1
        self.last_heard = now
        self._unheard = True
        self.usage = self.usage and Usage(self.usage.prompt_tokens, 0)  # the last leg's; only the prompt is the same
        if self.started_at is None:
            self.started_at = now
        return self.course.begin(engine, self.produced, now, seen=self._outlet is not None)

    def leg_request(self) -> LegRequest:
        """The present leg's request."""
        return self.course.leg_request()

    @property
    def can_go_on(self) -> bool:
        """Whether it may lose its engine now: nothing was said yet, or a next leg goes on from what was.

        Not behind the finish reason: only the usage is still to come.
        """
        if not self.produced:
            return self.request.leg.stream
        return self.course.open and not self.course.finished

    def on_leg(self, number: int) -> bool:
        """Whether that leg is still the present one."""
        return self.engine_id is not None and self.legs == number

    def attach_leg(self, leg: Leg) -> None:
        """The leg's request is on its way; it may be over already."""
        if self.engine_id is None or self.end.done():
            leg.abort()
            return
        self._leg = leg
        if self.blocked_at is not None:
            leg.pause_reading()

    # ---- the client's side

    def follow(self, outlet: Outlet) -> None:
        """Send what was held and everything from now on."""
        self._outlet = outlet
        held, self._held = b"".join(self._held), []
        self._paced_from = self._now()
        self.resume()
        if held:
            self._deliver(held, self._paced_from)

    def reads(self, characters: int, rate: float) -> None:
        """Its reader has got so many characters and reads so many a second.

        A pace is stated in tokens of a usual text; how much of that a token of this model and language is, only the
        reader's side sees. Within bounds: who claims more would be served before everybody, or never.
        """
        if self._rate and rate > 0:
            ratio = UnitRatio(1.0, PRIOR_TOKENS)
            ratio.observe(self.delivered, characters * self._rate / rate)
            self.units_per_token = min(_MOST_HELD, max(_LEAST_HELD, ratio.units_per_token))

    def release_head(self) -> None:
        """Nothing has come for so long that the client should at least hear that its request lives."""
        if not self.head.done():
            self.head.set_result(None)

    def block(self) -> None:
        """The client reads too slowly: take no more from the engine."""
        if self.blocked_at is None:
            self.blocked_at = self._now()
            if self._leg is not None:
                self._leg.pause_reading()

    def resume(self) -> None:
        """The client has caught up."""
        if self.blocked_at is not None:
            self.blocked_at = None
            self.last_heard = self._now()  # the engine was not asked to speak meanwhile
            if self._leg is not None and self._gulp is None:
                self._leg.resume_reading()

    def comment(self) -> None:
        """Show a silent client that the connection lives."""
        if self._outlet is not None and self.blocked_at is None:
            self.last_sent = self._now()
            self._outlet.write(COMMENT)

    def finish(self, error: GatewayError | None) -> None:
        """Nothing more will come."""
        self.drop_leg()
        if error is not None:
            self.qoe = 0.0  # a failed or rejected job counts
        if not self.end.done():
            self.end.set_result(error)
        self.release_head()

    def drop_leg(self) -> bool:
        """Abort the leg; True when there was one at an engine."""
        leg, self._leg = self._leg, None
        if not self.produced and self._outlet is None:
            self._held.clear()
        if self._gulp is not None:
            self._gulp.cancel()
            self._gulp = None
        if leg is not None:
            leg.abort()
        self.engine_id, had = None, self.engine_id is not None
        return had

    # ---- inside

    def _hear(self, now: float) -> None:
        """The leg's first token."""
        self._unheard = False
        self.course.spoke(now)
        if self.first_token_at is None:
            self.first_token_at = now
            self.release_head()

    def _leg_over(self, error: EngineError | None) -> None:
        self._leg = None
        self._owner.leg_over(self, error)

    def _deliver(self, data: bytes, now: float) -> None:
        assert self._outlet is not None  # both callers have looked
        self.delivered = self.produced
        self.last_sent = now
        if not self._outlet.write(data):
            self.block()
        if self._rate and self._gulp is None and self._leg is not None:
            lead_s = self.delivered / self._rate - (now - self._paced_from)
            if lead_s > GROUP_LEAD_S:
                self._leg.pause_reading()
                # On a grid, so that one wake-up serves every stream that is due, and not all of them are due at once.
                due = (now + GROUP_S) // GRID_S * GRID_S
                self._gulp = self._call_later(due - now, self._read_on)

    def _read_on(self) -> None:
        self._gulp = None
        if self._leg is not None and self.blocked_at is None:
            self._leg.resume_reading()
