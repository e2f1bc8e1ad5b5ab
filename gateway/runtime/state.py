"""How a stream stands, for the reader who asked to be told."""

from typing import Any

from gateway.runtime.stream import Stream


def describe(stream: Stream, place: int | None, now: float) -> dict[str, Any]:
    """The `andante` event's fields.

    `state`: queued, running, paused, parked or ended; `place`: jobs before it in the queue; `produced`, `delivered`:
    tokens; `lead_s`: seconds by which a paced reader is ahead, None without a pace; `level`: how exactly it has gone
    on, or would; `resumed`: how often it has.
    """
    pace = stream.request.pace
    lead_s = None
    if pace.paced and stream.first_token_at is not None:
        lead_s = round(stream.delivered / pace.rate - (now - stream.first_token_at), 1)
    return {
        "state": _state(stream),
        "place": place,
        "produced": stream.produced,
        "delivered": stream.delivered,
        "lead_s": lead_s,
        "level": stream.course.level.value,
        "resumed": stream.course.resumptions,
    }


def _state(stream: Stream) -> str:
    if stream.end.done():
        return "ended"
    if stream.parked:
        return "parked"
    if stream.engine_id is not None:
        return "running"
    return "paused" if stream.produced else "queued"
