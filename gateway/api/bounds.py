"""What a connection may ask of the server before its request is whole: so many bytes, so much time.

uvicorn bounds neither. Refusals here are made below ASGI, on the bare transport.
"""

import asyncio
import json
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.context import REFUSED

MAX_HEAD_BYTES: Final = 64 * 1024
LINGER_S: Final = 2.0
_OFFER: Final = frozenset((b"upgrade", b"http2-settings"))


class _HeadTooLarge(Exception):
    pass


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol, with bounds and OpenAI's error object for what breaks them.

    A head has `head_s` seconds from its first byte (or from the connection's start, where none comes), a body may be
    silent for `body_s`. An offer to upgrade is ignored: the request in it is answered as any other.
    """

    head_s = 30.0
    body_s = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading = False  # from a message's first byte to its last
        self._in_head = False
        self._upgrading = False
        self._refused = False
        self._fruitless = 0  # bytes since the last that went into a whole head or a body
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None  # uvicorn's `cycle` may be one that waits behind it

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering is not None and not self._answering.response_complete:
            self._give_up(self._answering)
        super().connection_lost(exc)
        self._forget()

    def shutdown(self) -> None:
        """Whoever has not said all of its request by now is not waited for."""
        if self._refusable:
            if self._answering is not None:
                self._give_up(self._answering)
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._reading:
            self._fruitless += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadTooLarge):
                self._refuse_large_head()
            else:
                self.logger.warning("Invalid HTTP request received.")
                self.send_400_response("Invalid HTTP request received.")
            return
        if self._fruitless > MAX_HEAD_BYTES:
            self._refuse_large_head()
        elif self._reading or self._idle:
            self._watch()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if not self._upgrading:  # CONNECT, whatever follows it
                    return
                data = self._without_upgrade() + data[upgrade.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        """The head that was read, less its offer; the parser is a new one, which has not yet seen it."""
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [each for each in value.split(b",") if each.strip().lower() not in _OFFER]
                lines.append(b"connection: " + b",".join(kept))
            elif name not in _OFFER:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._upgrading = False
        return b"\r\n".join([*lines, b"", b""])

    # ---- the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = self._in_head = True
        self._fruitless = 0
        self._since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are nothing that an application could read
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            raise _HeadTooLarge
        self._fruitless = 0
        self._upgrading = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if not self._upgrading:
            super().on_headers_complete()
            self.request_begun(self.cycle)
        self._in_head = False  # last: uvicorn may find fault with the head

    def request_begun(self, cycle: RequestResponseCycle) -> None:
        """For a subclass: the head is whole, and its application not yet called."""

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading = False
        self._forget()
        if not self._upgrading:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, _unchunked(app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    # ---- bounds

    @property
    def _idle(self) -> bool:
        """Whether no response is due or under way."""
        return self._answering is None or self._answering.response_complete

    @property
    def _refusable(self) -> bool:
        """Whether a request is incomplete, and what is written now would be taken for the answer to it."""
        if not self._reading:
            return False
        if self._in_head:
            return self._idle
        return self.cycle is self._answering and not self.cycle.response_started

    def _watch(self) -> None:
        now = self.loop.time()
        if self._timer is None:
            self._since = now
            self._timer = self.loop.call_later(self.head_s, self._overdue)
        elif self._reading and not self._in_head:
            self._since = now

    def _overdue(self) -> None:
        in_body = self._reading and not self._in_head
        left = self._since + (self.body_s if in_body else self.head_s) - self.loop.time()
        if self.flow.read_paused or not (self._idle or self._refusable):
            left = self.body_s  # it waits for us
        self._timer = None
        if left > 0:
            self._timer = self.loop.call_later(left, self._overdue)
        elif self._refusable:
            self.refuse(408, "request_timeout", "The request did not arrive in time.")
        else:
            self.transport.close()

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_large_head(self) -> None:
        self.refuse(431, "headers_too_large", f"The request's headers are larger than {MAX_HEAD_BYTES} bytes.")

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "invalid_http", msg)

    def refuse(self, status: int, code: str, message: str) -> None:
        """Answer, unless that would stand in the middle of another answer, and close the connection."""
        answerable = self._refusable or (self._idle and not self._reading)
        if self._answering is not None and not self._answering.response_complete:
            if answerable:
                self._answering.scope["state"][REFUSED] = status
            self._give_up(self._answering)
        self._forget()
        if not answerable or not self.transport.can_write_eof():
            self.transport.close()
            return
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = json.dumps({"error": error}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        # To close at once would reset the connection of a client that still sends, before it has read the answer.
        self.transport.write_eof()
        self._refused = True
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        """Let the application hear that its client is gone, and write no more."""
        cycle.disconnected = True
        cycle.message_event.set()


def _unchunked(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """For HTTP/1.0, which knows no chunks: a body without a length is raw, and ends with the connection."""

    async def run(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        raw = False

        async def send_raw(message: ASGISendEvent) -> None:
            nonlocal raw
            if message["type"] == "http.response.start":
                raw = all(name.lower() != b"content-length" for name, _ in message.get("headers", ()))
                cycle.chunked_encoding = True if raw else None  # said to be so, uvicorn does not announce it
                await send(message)
                cycle.chunked_encoding = False
                return
            if raw and message["type"] == "http.response.body":
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_raw)

    return run
