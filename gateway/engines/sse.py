"""Server-sent events from an engine, split anywhere by the network.

Source: WHATWG HTML, section 9.2 "Server-sent events". Engines use one corner of it: `data:` events, comments, LF or
CRLF. Ids, event names and comments of the engine are dropped: they are not the client's business, and an `id:` line
breaks OpenAI's SDKs when a comment follows it.
"""

from codecs import BOM_UTF8
from typing import Final

from gateway.errors import EngineFailed

MAX_EVENT_BYTES: Final = 4 << 20


class SseDecoder:
    """Bytes in, payloads of whole events out; holds at most one unfinished event of `MAX_EVENT_BYTES`."""

    def __init__(self) -> None:
        self.tail = b""  # the unfinished event
        self._begun = False
        self._after_cr = False  # a LF that comes now belongs to a line end that has been seen

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that are complete now, in order.

        EngineFailed when an event outgrows the limit.
        """
        if not self._begun:
            data = self._without_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._plain_newlines(data)
        if self.tail:
            data = self.tail + data
        end = data.rfind(b"\n\n")
        if end < 0:
            self._keep(data)
            return []
        self._keep(data[end + 2 :])
        payloads = []
        for event in data[:end].split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                payloads.append(event[6:])
            elif (payload := _payload(event)) is not None:
                payloads.append(payload)
        return payloads

    def _without_mark(self, data: bytes) -> bytes:
        """What has come so far without the mark of the byte order, once there is enough to know."""
        data, self.tail = self.tail + data, b""
        if len(data) < len(BOM_UTF8) and BOM_UTF8.startswith(data):
            self.tail = data
            return b""
        self._begun = True
        return data.removeprefix(BOM_UTF8)

    def _keep(self, tail: bytes) -> None:
        if len(tail) > MAX_EVENT_BYTES:
            raise EngineFailed("The engine sent an event that is too large.")
        self.tail = tail

    def _plain_newlines(self, data: bytes) -> bytes:
        """CRLF and lone CR become LF, also where the network has cut a CRLF."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _payload(event: bytes) -> bytes | None:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line == b"data" or line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
