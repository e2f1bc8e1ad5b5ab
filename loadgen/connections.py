"""HTTP/1.1 for the load generator: one callback per read of a socket, and the time taken first thing in it.

A measuring client must cost less than what it measures. There is no task and no queue per stream: asyncio calls
`data_received`, httptools parses, and the answer's owner gets the bytes with the time of the read.
docs/decisions/0006-load-client.md has the comparison with a general client.
"""

import asyncio
import ssl
import time
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

CONNECT_TIMEOUT_S: Final = 30.0
MAX_IDLE: Final = 4096

clock: Final = time.monotonic
"""Seconds; the same clock in every process of a machine. The event loop's own may be a millisecond old."""


class TargetError(ValueError):
    """A server that cannot be attacked; the message says why."""


class Owner(Protocol):
    """Who waits for an answer. `end` or `lost` comes last, once."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None: ...

    def body(self, data: bytes, now: float) -> None: ...

    def end(self, now: float) -> None: ...

    def lost(self, now: float, *, stale: bool) -> None:
        """The connection broke; `stale`: a kept-alive one that was closed before the request was seen."""


class Connection(asyncio.Protocol):
    """One connection, one answer at a time."""

    def __init__(self, target: "Target") -> None:
        self._target = target
        self._owner: Owner | None = None
        self._transport: asyncio.Transport | None = None
        self._reused = False
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._complete = False
        self._keep = False
        self._head_seen = False
        self._silent = True

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, owner: Owner) -> None:
        """Write a request whose answer goes to `owner`."""
        self._owner = owner
        if self._transport is not None:
            self._transport.write(request)

    def abort(self) -> None:
        """Close at once: the reader has left. The owner hears nothing more."""
        self._owner = None
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Leave in the socket what comes."""
        if self.usable and self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take it again."""
        if self.usable and self._transport is not None:
            self._transport.resume_reading()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._now = clock()
        self._silent = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._lose()
            self.abort()
            return
        if self._complete:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._now = clock()
        self._target.gone(self)
        if self._head_seen and exc is None and not {b"content-length", b"transfer-encoding"} & self._headers.keys():
            self._finish()  # no length was promised: the end of the connection is the end of the body
        else:
            self._lose()

    # ---- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._head_seen = True
        if self._owner is not None:
            self._owner.head(self._parser.get_status_code(), self._headers)

    def on_body(self, body: bytes) -> None:
        if self._owner is not None:
            self._owner.body(body, self._now)

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep = self._parser.should_keep_alive()  # the parser forgets it right after this call

    # ---- inside

    def _finish(self) -> None:
        owner, self._owner = self._owner, None
        keep = self._keep and self.usable
        self._begin()
        self._reused = True
        if keep:
            self._target.give_back(self)
        elif self._transport is not None:
            self._transport.close()
        if owner is not None:
            owner.end(self._now)

    def _lose(self) -> None:
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.lost(self._now, stale=self._reused and self._silent)


class Target:
    """A server's address and the open connections to it."""

    def __init__(self, url: str) -> None:
        """`url` is http or https, with a path in front of /v1 if there is one. TargetError if it is not."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as problem:
            raise TargetError(f"{url!r} is no address: {problem}") from problem
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TargetError(f"{url!r} is no http or https address")
        self._host, self._netloc = parts.hostname, parts.netloc.rpartition("@")[2]
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    def request(self, method: str, path: str, body: bytes, key: str | None, *more: str) -> bytes:
        """A JSON request as bytes; `more` are further lines of its head."""
        lines = [
            f"{method} {self._path}{path} HTTP/1.1",
            f"host: {self._netloc}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *([f"authorization: Bearer {key}"] if key else ()),
            *more,
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    async def connection(self, *, fresh: bool = False) -> Connection:
        """An idle connection, or a new one. OSError (TimeoutError is one) when there is none to be had."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(
                lambda: Connection(self), self._host, self._port, ssl=self._tls
            )
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """For the next request."""
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.abort()

    def gone(self, connection: Connection) -> None:
        """It was closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Abort everything."""
        for connection in tuple(self._open):
            connection.abort()
