"""HTTP/1.1 to an engine at the cost of one callback per read.

A token costs here one read of the socket, one pass of httptools' parser and one call of the receiver; no task, no
queue. Reading can be paused, so that many tokens are later taken in one gulp. Everything that is not a generation goes
through httpx2 instead (`docs/decisions/0002-token-path.md`).
"""

import asyncio
import contextlib
import errno
import ssl
from typing import Final, Protocol, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from gateway.errors import EngineBusy, EngineUnreachable

MAX_IDLE: Final = 256
# No fault of the engine's: too many open files, no buffers, no ports.
OUR_SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
DRAIN_S: Final = 2.0


class Receiver(Protocol):
    """Who gets a response. `end` or `lost` comes last, exactly once."""

    def head(self, status: int, content_type: str) -> None: ...

    def body(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def lost(self, *, stale: bool) -> None:
        """The connection broke; `stale`: a kept-alive one that the engine had closed before it saw the request."""


class Connection(asyncio.Protocol):
    """One connection, one response at a time."""

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._receiver: Receiver | None = None
        self._transport: asyncio.Transport | None = None
        self._reused = False
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._content_type = ""
        self._framed = False
        self._head_seen = False
        self._complete = False
        self._keep_alive = False
        self._silent = True

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Write a request; its response goes to the receiver."""
        self._receiver = receiver
        if self._transport is None or self._transport.is_closing():
            self._finish_lost()
        else:
            self._transport.write(request)

    def detach(self) -> None:
        """The receiver has what it needs; keep the connection if the response soon ends."""
        self._receiver = None
        if not self._complete:
            self._channel.loop.call_later(DRAIN_S, self._abort_unless_idle)
            self.resume_reading()

    def abort(self) -> None:
        """Close at once, which is how an engine is told to stop."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        if self._receiver is None and self._channel.is_idle(self):
            self.abort()  # an answer to nothing must not become the answer to the next request
            return
        self._silent = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish_lost()
            self.abort()
            return
        self._flush()
        if self._complete:
            self._finish()

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.gone(self)
        self._flush()
        if self._head_seen and not self._framed and exc is None:
            self._complete = True  # no length was promised: the end of the connection is the end of the body
            self._finish()
        else:
            self._finish_lost()

    # ---- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-type":
            self._content_type = value.decode("latin-1").lower()
        elif name in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        self._head_seen = True
        if self._receiver is not None:
            self._receiver.head(self._parser.get_status_code(), self._content_type)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()  # the parser forgets it right after this call

    # ---- inside

    def _flush(self) -> None:
        body = self._body
        if body:
            self._body = b""
            if self._receiver is not None:
                self._receiver.body(body)

    def _finish(self) -> None:
        receiver, self._receiver = self._receiver, None
        keep = self.usable and self._keep_alive and self._framed
        self._reset()
        self._reused = True
        if keep:
            self.resume_reading()  # a paced reader's last tokens may have paused it
            self._channel.give_back(self)
        elif self._transport is not None:
            self._transport.close()
        if receiver is not None:
            receiver.end()

    def _finish_lost(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost(stale=self._reused and self._silent)

    def _abort_unless_idle(self) -> None:
        if self._receiver is None and not self._channel.is_idle(self) and self._transport is not None:
            self._transport.abort()


class Channel:
    """The connections to one engine; at most `MAX_IDLE` wait for the next request."""

    def __init__(self, url: str, *, api_key: str | None = None, connect_timeout_s: float = 2.0) -> None:
        self.loop = asyncio.get_running_loop()
        self._url: SplitResult = urlsplit(url)
        self._authorization = b"authorization: Bearer %s\r\n" % api_key.encode() if api_key else b""
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None

    def request(self, path: str, body: bytes, request_id: str) -> bytes:
        """A POST of a JSON body, as bytes."""
        head = (
            f"POST {self._url.path.rstrip('/')}{path} HTTP/1.1\r\nhost: {self._url.netloc.rpartition('@')[2]}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        )
        return head.encode("latin-1") + self._authorization + b"\r\n" + body

    async def connection(self, *, fresh: bool = False) -> Connection:
        """An idle connection, or a new one. EngineUnreachable when the engine cannot be reached in time."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        host, port = self._url.hostname or "", self._url.port or (443 if self._tls else 80)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await self.loop.create_connection(lambda: Connection(self), host, port, ssl=self._tls)
        except OSError as error:  # a TimeoutError is one
            if error.errno in OUR_SHORTAGE:
                raise EngineBusy(f"The gateway has no socket left for the engine: {error.strerror}.") from error
            raise EngineUnreachable(
                f"The engine cannot be reached: {error.strerror or type(error).__name__}."
            ) from error
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.abort()

    def is_idle(self, connection: Connection) -> bool:
        return connection in self._idle

    def gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def close(self) -> None:
        """Abort every connection."""
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
