"""A job as it travels to another gateway: the request once, and what was said in pieces."""

from array import array
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gateway.core.limits import LimitState, Reservation
from gateway.core.pace import Pace
from gateway.engines.base import Endpoint, LegRequest
from gateway.engines.stops import StopMatcher
from gateway.engines.transcript import Transcript
from gateway.runtime.sizing import PromptSize
from gateway.runtime.stream import JobRequest, Stream
from gateway.stores.stream_exchange import Position

_SHORT: Final = ("head", "tokens", "characters", "prompt_tokens", "part", "unsplit", "finished", "counted", "reasoned")
_NO_STATE: Final = LimitState(None, None)


class NoMeter:
    """For a request that is on its way: nobody settles it."""

    def settle(self, total_tokens: int) -> None:
        """Nothing."""

    def release(self, total_tokens: int) -> None:
        """Nothing."""


class Said(msgspec.Struct, array_like=True, omit_defaults=True):
    """A piece of a transcript: what was added behind `at` (token ids, pieces of text), and all that is short.

    `ids` four bytes each; the prompt's are in pieces that begin at 0.
    """

    at: Position
    ids: bytes
    text: list[str]
    short: dict[str, Any]
    stops: list[Any] | None = None
    prompt_ids: bytes = b""
    broken: str = ""


class StreamTale:
    """The port `StreamRecord` of a stream of ours."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def origin(self) -> bytes:
        return packed(self._stream.request)

    def progress(self, since: Position) -> tuple[bytes, Position]:
        transcript = self._stream.course.transcript
        if transcript is None:
            return b"", since
        ids_at, text_at = since
        if len(transcript.token_ids) < ids_at or len(transcript.text) < text_at:
            ids_at, text_at = 0, 0  # it began anew
        piece = Said(
            (ids_at, text_at),
            transcript.token_ids[ids_at:].tobytes(),
            transcript.text[text_at:],
            {name: getattr(transcript, name) for name in _SHORT},
            None if transcript.stops is None else transcript.stops.packed(),
            b"" if ids_at else transcript.prompt_ids.tobytes(),
            transcript.broken,
        )
        return msgspec.msgpack.encode(piece), (len(transcript.token_ids), len(transcript.text))


def transcript_of(pieces: Iterable[bytes]) -> Transcript | None:
    """What was said, from its pieces in their order; one that comes twice does no harm. None where nothing was kept."""
    transcript: Transcript | None = None
    for data in pieces:
        piece = msgspec.msgpack.decode(data, type=Said)
        if transcript is None:
            transcript = Transcript()
        ids_at, text_at = piece.at
        if len(transcript.token_ids) < ids_at or len(transcript.text) < text_at:
            transcript.broken = "a part of the answer was lost"
            return transcript
        transcript.token_ids = array("I", transcript.token_ids[:ids_at].tobytes() + piece.ids)
        transcript.text = [*transcript.text[:text_at], *piece.text]
        if piece.prompt_ids:
            transcript.prompt_ids = array("I", piece.prompt_ids)
        for name in _SHORT:
            setattr(transcript, name, piece.short[name])
        transcript.stops = None if piece.stops is None else StopMatcher.unpacked(piece.stops)
        transcript.broken = piece.broken
    return transcript


def inherit(stream: Stream, transcript: Transcript | None, epoch: int) -> None:
    """Let a new stream go on with what another gateway had; it is parked, without engine and place, for its reader."""
    stream.parked = True
    stream.course.inherit(transcript, epoch)
    if transcript is not None and transcript.begun:
        stream.produced = stream.delivered = stream.flushed = transcript.tokens
        stream.started_at = stream.first_token_at = stream.arrived
        stream.release_head()


def packed(request: JobRequest) -> bytes:
    """A request as it was admitted."""
    leg, pace, size, held = request.leg, request.pace, request.size, request.reservation
    return msgspec.msgpack.encode(
        {
            "leg": [leg.id, leg.endpoint.value, leg.body, leg.stream, leg.include_usage, leg.include_token_ids],
            "job": [request.request_id, request.tenant, request.weight, request.model],
            "size": [size.text_bytes, size.messages, size.token_ids, size.opaque],
            "tokens": [request.prompt_tokens, request.max_tokens],
            "pace": [pace.kind, pace.ttft_s, pace.rate, pace.unit, pace.start_units],
            "held": None if held is None else [str(held.id), held.key_id, held.tokens],
        }
    )


def unpacked(data: bytes) -> JobRequest:
    """The inverse of `packed`, without a meter."""
    fields = msgspec.msgpack.decode(data)
    name, endpoint, body, *flags = fields["leg"]
    request_id, tenant, weight, model = fields["job"]
    prompt_tokens, max_tokens = fields["tokens"]
    held = fields["held"]
    return JobRequest(
        leg=LegRequest(name, Endpoint(endpoint), body, *flags),
        request_id=request_id,
        tenant=tenant,
        weight=weight,
        model=model,
        size=PromptSize(*fields["size"]),
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        pace=Pace(*fields["pace"]),
        meter=NoMeter(),
        reservation=None if held is None else Reservation(int(held[0]), held[1], held[2], _NO_STATE),
    )
