"""Events of a stream that can be left and read on: each data event has a number, and none may be missing or come twice.

The form is the gateway's (docs/protocol.md, "Coming back"): `id:` counts from 1, events with a name have none.
"""

from typing import Final

from gateway.errors import EngineFailed

MAX_EVENT_BYTES: Final = 4 << 20


class NumberedEvents:
    """Bytes in, payloads out, as `SseDecoder`; holds at most one unfinished event of `MAX_EVENT_BYTES`."""

    def __init__(self) -> None:
        self._tail = b""
        self.last = 0
        """Number of the last event that came whole."""
        self.lost = 0
        self.doubled = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the data events that are complete now. EngineFailed when an event outgrows the limit."""
        *events, self._tail = (self._tail + data).split(b"\n\n")
        if len(self._tail) > MAX_EVENT_BYTES:
            raise EngineFailed("The server sent an event that is too large.")
        return [payload for event in events if (payload := self._payload(event)) is not None]

    def cut(self) -> None:
        """The connection is gone: half an event is none, and comes again whole."""
        self._tail = b""

    def _payload(self, event: bytes) -> bytes | None:
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line and line[:1] != b":")
        number = fields.get(b"id", b"")
        if b"event" in fields or b"data" not in fields:
            return None
        if number.isdigit():
            self.lost += max(0, int(number) - self.last - 1)
            self.doubled += int(number) <= self.last
            self.last = max(self.last, int(number))
        return fields[b"data"]
