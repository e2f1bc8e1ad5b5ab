"""uvicorn, with two things added: a direct way to a response's socket, and an orderly end.

ASGI's `send` is a coroutine, so a token that comes in a read callback would need a task to reach its client. The
protocol class below offers the same bytes as a plain call, as an ASGI extension in the request's scope:
`scope["extensions"][WIRE]` is a `Wire`. Start and end of a response still go through `send`, so uvicorn's own state
stays true (`docs/decisions/0002-token-path.md`).
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.api.bounds import BoundedProtocol

WIRE: Final = "andante.wire"


class Wire:
    """One response's socket. Usable between the response's start and its end."""

    __slots__ = ("_cycle", "_protocol", "_transport")

    def __init__(self, protocol: "TokenProtocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._transport = cycle.transport

    @property
    def closed(self) -> bool:
        """Whether the client has left."""
        return self._cycle.disconnected or self._transport.is_closing()

    def write(self, data: bytes) -> bool:
        """Send body bytes as one HTTP chunk; False once the socket's buffer is past its high-water mark."""
        if not self._cycle.disconnected:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not self._protocol.flow.write_paused

    def listen(self, *, lost: Callable[[], None], resumed: Callable[[], None]) -> None:
        """Be told when the client leaves, and when it has read enough to go on."""
        if not self._protocol.pipeline:
            self._protocol.flow.resume_reading()  # uvicorn leaves it paused, and so deaf, after a large body
        self._protocol.listeners[self] = (lost, resumed)

    def abort(self) -> None:
        """Drop the client, with all that it has not read."""
        self._cycle.disconnected = True
        self._transport.abort()

    def unlisten(self) -> None:
        self._protocol.listeners.pop(self, None)


class _RawWire(Wire):
    """For HTTP/1.0, which knows no chunks."""

    __slots__ = ()

    def write(self, data: bytes) -> bool:
        if not self._cycle.disconnected:
            self._transport.write(data)
        return not self._protocol.flow.write_paused


class TokenProtocol(BoundedProtocol):
    """The bounded protocol with a `Wire` for each request.

    A client that leaves more unread than the socket holds, for `unread_s` seconds, is dropped: also one whose answer
    has ended, and whom nobody else watches.
    """

    listeners: dict[Wire, tuple[Callable[[], None], Callable[[], None]]]

    def __init__(self, *args: Any, unread_s: float = 120.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread_s = unread_s
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.listeners = {}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_unread()
        for lost, _ in tuple(self.listeners.values()):
            lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._forget_unread()
        self._unread = self.loop.call_later(self._unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._forget_unread()
        for _, resumed in tuple(self.listeners.values()):
            resumed()

    def request_begun(self, cycle: RequestResponseCycle) -> None:
        wire = _RawWire if cycle.scope["http_version"] == "1.0" else Wire
        cycle.scope["extensions"] = {WIRE: wire(self, cycle)}  # type: ignore[dict-item]

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class Server(uvicorn.Server):
    """Ends by draining: on SIGTERM or SIGINT it answers "not ready", lets `drain` finish while it still serves, and
    only then closes its sockets. A second signal ends the wait."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Callable[[], Awaitable[None]],
        announce: Callable[[str, int], None],
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._announce = announce
        self._hurry = asyncio.Event()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        # Not remembered for re-raising, as uvicorn would: a drained gateway has done what it was told and exits with 0.
        if self.should_exit:
            self._hurry.set()
            self.force_exit = sig == signal.SIGINT
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(host, port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        hurried = asyncio.ensure_future(self._hurry.wait())
        drained = asyncio.ensure_future(self._drain())
        await asyncio.wait({hurried, drained}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        drained.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await drained
        await super().shutdown(sockets)
