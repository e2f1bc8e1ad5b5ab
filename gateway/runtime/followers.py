"""A stream with a log, and who follows it: written once, read by each from where it stands."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from gateway.clock import Clock
from gateway.errors import GatewayError, StreamGone, StreamNotFound, Unavailable
from gateway.runtime.state import ReaderReport
from gateway.runtime.stream import Outlet, Stream
from gateway.stores.stream_exchange import StreamExchange
from gateway.stores.stream_log import StreamLog

PAGE_BYTES: Final = 64 << 10
LastWords = Callable[[GatewayError | None], bytes]


class Follower:
    """One reader of one log. `done` when nothing more will come, or the reader has left."""

    def __init__(self, kept: "Kept", outlet: Outlet, after: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.blocked = False
        self._kept = kept
        self._outlet = outlet
        self._after = after
        self._unfollow: Callable[[], None] | None = None

    def start(self) -> None:
        """Send what is there and follow. Headers must be out."""
        if not self.done.done():
            self._unfollow = self._kept.log.follow(self._kept.id, self.pump)
            self.pump()

    def pump(self) -> None:
        """Send what is new, unless the reader's socket is full."""
        while not self.blocked and not self.done.done():
            try:
                page = self._kept.log.read(self._kept.id, self._after, max_bytes=PAGE_BYTES)
            except (StreamGone, StreamNotFound) as error:
                self._outlet.write(self._kept.last_words(error))
                self.end()
                return
            if page.events:
                numbered = enumerate(page.events, start=page.first)
                self._after = page.last
                self.blocked = not self._outlet.write(b"".join(b"id: %d\n%b" % each for each in numbered))
            if page.closed:
                self.end()
            elif not page.events:
                if not self._kept.live:
                    self._outlet.write(self._kept.last_words(StreamGone("The gateway that wrote this has ended.")))
                    self.end()
                return

    def resume(self) -> None:
        """The socket has room again."""
        self.blocked = False
        self.pump()
        if not self.blocked:
            self._kept.resume()

    def tell(self, data: bytes) -> None:
        """Send something that is not in the log."""
        if self._unfollow is not None and not self.blocked and not self.done.done():
            self.blocked = not self._outlet.write(data)

    def end(self) -> None:
        """Nothing more for this reader."""
        if self._unfollow is not None:
            self._unfollow()
        if not self.done.done():
            self.done.set_result(None)

    def leave(self) -> None:
        """The reader's connection is gone, or its answer has ended."""
        self.end()
        self._kept.left(self)


class Reader(Protocol):
    """Who follows: here, or at another gateway."""

    blocked: bool

    def tell(self, data: bytes) -> None:
        """Send something that is not in the log."""

    def end(self) -> None:
        """Nothing more for this reader."""


class ReaderAfar:
    """The readers at another gateway: one for all of them. It is never slow; its gateway keeps a log."""

    blocked = False

    def __init__(self, exchange: StreamExchange, stream_id: str, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self._exchange = exchange
        self._stream_id = stream_id

    def tell(self, data: bytes) -> None:
        self._exchange.pass_on(self._stream_id, self.gateway_id, data)

    def end(self) -> None:
        """The log's end is enough."""


class Keeper(Protocol):
    """Who keeps all streams: the desk."""

    log: StreamLog
    clock: Clock

    def describe(self, stream: Stream) -> Mapping[str, Any]: ...

    def nobody_reads(self, kept: "Kept") -> None: ...

    def cannot_keep(self, kept: "Kept") -> None: ...

    def over(self, kept: "Kept") -> None: ...

    def more_to_come(self, stream_id: str) -> bool: ...


class Kept:
    """A stream with a log: the outlet of the stream, the source of its followers."""

    def __init__(self, desk: Keeper, stream_id: str, stream: Stream | None, last_words: LastWords) -> None:
        self.id = stream_id
        self.log = desk.log
        self.last_words = last_words
        self.report: ReaderReport | None = None
        self.stream = stream
        self.followers: list[Reader] = []
        self.afar: list[ReaderAfar] = []  # those of them that are at other gateways
        self._desk = desk
        self._state = b""

    @property
    def live(self) -> bool:
        """Whether more may come."""
        return self.stream is not None or self._desk.more_to_come(self.id)

    # ---- Outlet

    def write(self, data: bytes) -> bool:
        if data.startswith(b":"):
            self.tell(data)
        elif data:
            events = [event + b"\n\n" for event in data.split(b"\n\n") if event]
            try:
                self.log.append(self.id, events, now=self._desk.clock.wall())
            except (StreamNotFound, Unavailable):  # it was dropped for its age, or the disk is full
                self._desk.cannot_keep(self)
        return not self.followers or not all(follower.blocked for follower in self.followers)

    # ---- the readers

    def resume(self) -> None:
        """A reader has caught up."""
        if self.stream is not None:
            self.stream.resume()

    def left(self, follower: Reader) -> None:
        """A reader left; the last one's leaving parks the job."""
        if follower in self.followers:
            self.followers.remove(follower)
            if self.followers:
                return
            if self.stream is not None:
                self._desk.nobody_reads(self)
            else:
                self._desk.over(self)

    def end_all(self) -> None:
        """Every reader is sent away."""
        for follower in tuple(self.followers):
            follower.end()

    def show_state(self) -> None:
        """Tell the readers how things stand, if that has changed."""
        if self.stream is None or not self.followers:
            return
        state = msgspec.json.encode(self._desk.describe(self.stream))
        if state != self._state:
            self._state = state
            self.tell(b"event: andante\ndata: " + state + b"\n\n")

    def finish(self, end: "asyncio.Future[GatewayError | None]") -> None:
        """The stream is over: say so in the log, unless it was stopped before its end."""
        stream = self.stream
        now = self._desk.clock.wall()
        self.show_state()
        try:
            if stream is not None and not stream.abandoned and not end.cancelled():
                self.log.append(self.id, [self.last_words(end.result())], now=now)
            self.log.close_stream(self.id, now=now)
        except (StreamNotFound, Unavailable):
            self.end_all()
        self.stream = None  # last: until its log is closed, readers wait for more
        self._desk.over(self)

    def tell(self, data: bytes) -> None:
        """Tell the readers something that is not in the log."""
        for follower in tuple(self.followers):
            follower.tell(data)
