"""One run at an engine over HTTP: the response's bytes become calls of the sink, ended exactly once."""

import asyncio
from typing import Any, Final

import msgspec

from gateway.engines.base import Leg, LegSink
from gateway.engines.relay import ABORTED, EngineUsage, Odd, Relay, Renaming, usable_usage
from gateway.engines.rewriting import RewritingRelay
from gateway.engines.wire import Channel, Connection
from gateway.errors import EngineBusy, EngineError, EngineFailed, EngineRefused

MAX_ANSWER_BYTES: Final = 64 << 20
MAX_ERROR_BYTES: Final = 64 << 10
REFUSALS: Final = frozenset({400, 413, 422})
BUSY: Final = frozenset({408, 425, 429, 503})


class _Answer(msgspec.Struct):
    usage: EngineUsage | Odd = None
    choices: Any = None
    error: Any = None

    @property
    def none(self) -> bool:
        """Whether it is an error, whatever its status."""
        return bool(self.error) or not isinstance(self.choices, list)

    @property
    def aborted(self) -> bool:
        """Whether the engine was told to stop, by somebody else than us."""
        choices = self.choices if isinstance(self.choices, list) else []
        return any(isinstance(each, dict) and each.get("finish_reason") == ABORTED for each in choices)


class HttpLeg:
    """Receiver of one response and handle of its generation. `relay` None: a whole answer is expected."""

    def __init__(
        self,
        channel: Channel,
        request: bytes,
        sink: LegSink,
        relay: Relay | None,
        rename: Renaming | None,
    ) -> None:
        self._channel = channel
        self._request = request
        self._sink = sink
        self._relay = relay
        self._rename = rename
        self._connection: Connection | None = None
        self._resending: asyncio.Task[None] | None = None
        self._over = False
        self._paused = False
        self._status = 0
        self._streaming = False
        self._collected = bytearray()

    async def start(self, *, fresh: bool = False) -> None:
        """Send the request. EngineUnreachable when the engine cannot be reached."""
        connection = await self._channel.connection(fresh=fresh)
        if self._over:
            self._channel.give_back(connection)
            return
        self._connection = connection
        connection.send(self._request, self)
        if self._paused:
            connection.pause_reading()

    # ---- Leg

    def pause_reading(self) -> None:
        self._paused = True
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._connection is not None:
            self._connection.resume_reading()

    def abort(self) -> None:
        self._over = True
        if self._resending is not None:
            self._resending.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # ---- Receiver

    def head(self, status: int, content_type: str) -> None:
        self._status = status
        self._streaming = status == 200 and self._relay is not None
        if self._streaming and "text/event-stream" not in content_type:
            self._fail(EngineFailed("The engine did not stream."))

    def body(self, data: bytes) -> None:
        if self._over:
            return
        if not self._streaming:
            self._collect(data)
            return
        relay = self._relay
        assert relay is not None  # `_streaming` says so
        before = relay.tokens
        out = relay.feed(data)
        if out or relay.tokens != before:
            self._sink.events(out, relay.tokens - before)
        if relay.usage is not None:
            self._sink.counted(relay.usage)
        if relay.failure is not None:
            self._fail(relay.failure)
        elif relay.done:
            self._stream_done(relay)

    def end(self) -> None:
        self._connection = None
        if self._over:
            return
        if self._status != 200:
            self._fail(engine_error(self._status, bytes(self._collected)))
        elif self._streaming:
            self._broke(EngineFailed("The engine ended the stream without its end mark."))
        else:
            self._answer()

    def lost(self, *, stale: bool) -> None:
        self._connection = None
        if self._over:
            return
        if stale:
            # The engine closed an idle connection while the request was on its way: it saw nothing of it.
            self._resending = self._channel.loop.create_task(self._resend())
        else:
            self._broke(EngineFailed("The engine broke the connection."))

    # ---- inside

    def _broke(self, error: EngineError) -> None:
        """The end of the connection came before the end mark: a fault, unless the answer is whole without it."""
        relay = self._relay
        rest = relay.conclude() if relay is not None and self._streaming else None
        if relay is None or rest is None:
            self._fail(error)
            return
        self._over = True
        if rest:
            self._sink.events(rest, 0)
        if relay.usage is not None:
            self._sink.counted(relay.usage)
        self._sink.completed()

    async def _resend(self) -> None:
        try:
            await self.start(fresh=True)
        except EngineFailed as error:
            self._fail(error)

    def _stream_done(self, relay: Relay) -> None:
        if not relay.finished:
            self._fail(EngineFailed("The engine sent its end mark without a finish reason."))
            return
        self._over = True
        connection, self._connection = self._connection, None
        if connection is not None and relay.cut_short:
            connection.abort()  # the answer is over, the engine does not know it
        elif connection is not None:
            connection.detach()
        self._sink.completed()

    def _collect(self, data: bytes) -> None:
        self._collected += data
        if len(self._collected) > (MAX_ANSWER_BYTES if self._status == 200 else MAX_ERROR_BYTES):
            self._fail(EngineFailed("The engine's answer is too large."))

    def _answer(self) -> None:
        body = bytes(self._collected)
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._fail(EngineFailed("The engine's answer is not what was asked for."))
            return
        if answer.none:
            self._fail(EngineFailed("The engine sent an error in place of an answer."))
            return
        if answer.aborted:
            self._fail(EngineFailed("The engine gave the answer up."))
            return
        self._over = True
        if self._rename is not None:
            body = self._rename(body)
        self._sink.answered(body, usable_usage(answer.usage))

    def _fail(self, error: EngineError) -> None:
        if self._over:
            return
        self.abort()
        self._sink.failed(error)


class _Over:
    """The handle of a leg that needed no engine."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None: ...


def finish(sink: LegSink, relay: RewritingRelay) -> Leg:
    """End an answer that has all the tokens it may have."""
    sink.events(relay.end_at_limit(), 0)
    if relay.usage is not None:
        sink.counted(relay.usage)
    sink.completed()
    return _Over()


def engine_error(status: int, body: bytes) -> EngineError:
    """What an engine's refusal means for the job: its own fault, another engine's chance, or a broken engine."""
    message, param, kind = _error_fields(body)
    if status in REFUSALS:
        return EngineRefused(message or "The engine refused the request.", status=400, param=param, error_type=kind)
    if status in BUSY:
        return EngineBusy("The engine is busy.", retry_after_s=1.0)
    return EngineFailed(f"The engine answered with status {status}.")


def _error_fields(body: bytes) -> tuple[str | None, str | None, str | None]:
    """Message, param and type, from {"error": {...}}, {"error": "..."} or {"message": ...}: engines use them all."""
    try:
        decoded: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, None, None
    error = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if isinstance(error, str):
        return error, None, None
    if not isinstance(error, dict):
        return None, None, None
    return _text(error.get("message")), _text(error.get("param")), _text(error.get("type"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
