"""Streams that their readers may leave and come back to: written to a log, read from it, parked while nobody reads.

The stream writes into its log once; every reader is sent the log from where it stands, at its own pace, with each
event's number as its id. What is only of the moment (comments, states) is sent past the log.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.clock import Clock
from gateway.core import events as core
from gateway.errors import GatewayError, StreamGone, StreamNotFound, Unavailable
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.state import ReaderReport, describe
from gateway.runtime.stream import Outlet, Stream
from gateway.stores.stream_log import StreamLog

PAGE_BYTES: Final = 64 << 10
TICK_S: Final = 0.5
FLUSH_S: Final = 0.1
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


class Kept:
    """A stream with a log: the outlet of the stream, the source of its followers."""

    def __init__(self, desk: "Desk", stream_id: str, stream: Stream | None, last_words: LastWords) -> None:
        self.id = stream_id
        self.log = desk.log
        self.last_words = last_words
        self.report: ReaderReport | None = None
        self.stream = stream
        self.followers: list[Follower] = []
        self._desk = desk
        self._state = b""

    @property
    def live(self) -> bool:
        """Whether more may come."""
        return self.stream is not None

    # ---- Outlet

    def write(self, data: bytes) -> bool:
        if data.startswith(b":"):
            self._tell(data)
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

    def left(self, follower: Follower) -> None:
        """A reader left; the last one's leaving parks the job."""
        if follower in self.followers:
            self.followers.remove(follower)
            if self.stream is not None and not self.followers:
                self._desk.nobody_reads(self)

    def show_state(self) -> None:
        """Tell the readers how things stand, if that has changed."""
        if self.stream is None or not self.followers:
            return
        state = msgspec.json.encode(self._desk.describe(self.stream))
        if state != self._state:
            self._state = state
            self._tell(b"event: andante\ndata: " + state + b"\n\n")

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
            for follower in tuple(self.followers):
                follower.end()
        self.stream = None  # last: until its log is closed, readers wait for more
        self._desk.over(self)

    def _tell(self, data: bytes) -> None:
        for follower in tuple(self.followers):
            follower.tell(data)


class Desk:
    """All streams of this gateway that have a log. `window_s`: how long a job waits for its reader."""

    def __init__(self, log: StreamLog, dispatcher: Dispatcher, clock: Clock, *, window_s: float = 60.0) -> None:
        self.log = log
        self.clock = clock
        self._dispatcher = dispatcher
        self._window_s = window_s
        self._kept: dict[str, Kept] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    def __repr__(self) -> str:
        return f"<Desk {len(self._kept)} live, {len(self._leaving)} without a reader>"

    @property
    def kept(self) -> Sequence[Kept]:
        """The live ones."""
        return tuple(self._kept.values())

    def open(self, stream: Stream, owner: str, last_words: LastWords) -> str:
        """Keep a log of a job; its id. Unavailable when too many are kept."""
        stream_id = stream.request.id
        self.log.open(stream_id, owner, now=self.clock.wall())
        kept = self._kept[stream_id] = Kept(self, stream_id, stream, last_words)
        stream.follow(kept)
        stream.end.add_done_callback(kept.finish)
        return stream_id

    def follow(self, stream_id: str, owner: str, outlet: Outlet, after: int, last_words: LastWords) -> Follower:
        """A reader of a stream; the job goes on if it was parked.

        StreamNotFound, StreamGone, QueueFull or QueueShareFull.
        """
        self._check(stream_id, owner)
        self.log.read(stream_id, after, max_bytes=0)
        kept = self._kept.get(stream_id) or Kept(self, stream_id, None, last_words)
        if kept.stream is not None:
            self._dispatcher.unpark(kept.stream)
        if (handle := self._leaving.pop(stream_id, None)) is not None:
            handle.cancel()
        follower = Follower(kept, outlet, after)
        kept.followers.append(follower)
        return follower

    def stop(self, stream_id: str, owner: str) -> None:
        """End a stream for all its readers. StreamNotFound."""
        self._check(stream_id, owner)
        kept = self._kept.get(stream_id)
        if kept is not None and kept.stream is not None:
            self._dispatcher.give_up(kept.stream, "stopped")

    def report(self, stream_id: str, owner: str, report: ReaderReport) -> None:
        """What a reader tells of itself; the last word counts. StreamNotFound."""
        self._check(stream_id, owner)
        if (kept := self._kept.get(stream_id)) is not None:
            if kept.stream is not None:
                report.measure(kept.stream)
            kept.report = report  # the next round tells the scheduler: at most twice a second

    async def run(self) -> None:
        """Tell states, send logs on and forget old ones, for ever."""
        rounds = 0
        while True:
            await asyncio.sleep(FLUSH_S)
            rounds += 1
            try:
                self.log.flush()
                if rounds % round(TICK_S / FLUSH_S) == 0:
                    for kept in self.kept:
                        self._pass_on(kept)
                        kept.show_state()
                    self.log.expire(now=self.clock.wall())
            except Unavailable:
                continue  # a full disk, or a file that is locked: the next round tries again

    # ---- for the streams

    def describe(self, stream: Stream) -> Mapping[str, Any]:
        """How a stream stands, as its readers are told."""
        away = stream.parked or stream.end.done()
        place = None if away else self._dispatcher.place(stream)
        return describe(stream, place, None if away else self._dispatcher.standing(stream))

    def nobody_reads(self, kept: Kept) -> None:
        """Release the engine now and the job after a while."""
        assert kept.stream is not None  # its caller has looked
        self._dispatcher.park(kept.stream)
        loop = asyncio.get_running_loop()
        self._leaving[kept.id] = loop.call_later(self._window_s, self._drop, kept)

    def cannot_keep(self, kept: Kept) -> None:
        """Nobody will be able to read the stream."""
        if kept.stream is not None:
            asyncio.get_running_loop().call_soon(self._dispatcher.give_up, kept.stream, "log_lost")

    def over(self, kept: Kept) -> None:
        """Only its log is left."""
        self._kept.pop(kept.id, None)
        if (handle := self._leaving.pop(kept.id, None)) is not None:
            handle.cancel()

    def _pass_on(self, kept: Kept) -> None:
        report, kept.report = kept.report, None
        stream = kept.stream
        if report is None or stream is None or stream.parked:
            return
        scheduler = self._dispatcher.pool(stream.request.model).scheduler
        told = core.ReaderReport(
            visible=report.visible is not False,
            round_trip_s=report.rtt_s or 0.0,
            jitter_s=report.jitter_s or 0.0,
        )
        scheduler.reader(stream.request.id, told, self.clock.now())

    def _drop(self, kept: Kept) -> None:
        self._leaving.pop(kept.id, None)
        if kept.stream is not None:
            self._dispatcher.give_up(kept.stream, "reader_left")

    def _check(self, stream_id: str, owner: str) -> None:
        if self.log.owner(stream_id) != owner:
            raise StreamNotFound("There is no such stream.")
