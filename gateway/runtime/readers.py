"""Streams that their readers may leave and come back to: written to a log, read from it, parked while nobody reads.

The stream writes into its log once; every reader is sent the log from where it stands, at its own pace, with each
event's number as its id. What is only of the moment (comments, states) is sent past the log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.clock import Clock
from gateway.core import events as core
from gateway.errors import StreamNotFound, Unavailable
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.followers import Follower, Kept, LastWords, Reader
from gateway.runtime.neighbours import Neighbours
from gateway.runtime.state import ReaderReport, describe
from gateway.runtime.stream import Outlet, Stream
from gateway.stores.stream_log import StreamLog

TICK_S: Final = 0.5
FLUSH_S: Final = 0.1


class Desk:
    """All streams of this gateway that have a log. `window_s`: how long a job waits for its reader. `neighbours` knows
    the streams of other gateways, where there are some."""

    def __init__(
        self,
        log: StreamLog,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        window_s: float = 60.0,
        neighbours: Neighbours | None = None,
    ) -> None:
        self.log = log
        self.clock = clock
        self._dispatcher = dispatcher
        self.window_s = window_s
        self._kept: dict[str, Kept] = {}
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        self._neighbours = neighbours
        if neighbours is not None:
            neighbours.serve(self)

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
        self.take_up(stream_id, stream, last_words)
        return stream_id

    def take_up(self, stream_id: str, stream: Stream, last_words: LastWords) -> Kept:
        """Write a stream into its log, which is open, and which may have readers already."""
        kept = self._kept.get(stream_id) or Kept(self, stream_id, stream, last_words)
        self._kept[stream_id] = kept
        kept.stream = stream
        if self._neighbours is not None:
            self._neighbours.keep(stream)
        stream.follow(kept)
        stream.end.add_done_callback(kept.finish)
        return kept

    async def fetch(self, stream_id: str, owner: str, last_words: LastWords) -> None:
        """Have a stream here that another gateway writes or has written. StreamNotFound, Unavailable."""
        if self._neighbours is not None and stream_id not in self._kept:
            await self._neighbours.fetch(stream_id, owner, last_words)

    def follow(self, stream_id: str, owner: str, outlet: Outlet, after: int, last_words: LastWords) -> Follower:
        """A reader of a stream; the job goes on if it was parked.

        StreamNotFound, StreamGone, QueueFull or QueueShareFull.
        """
        self._check(stream_id, owner)
        self.log.read(stream_id, after, max_bytes=0)
        kept = self._kept.get(stream_id) or Kept(self, stream_id, None, last_words)
        if kept.live:
            self._kept[stream_id] = kept
        follower = Follower(kept, outlet, after)
        self.come(kept, follower)
        if kept.stream is None and self._neighbours is not None:
            self._neighbours.reading(stream_id)
        return follower

    def come(self, kept: Kept, reader: Reader) -> None:
        """One more reader, of whatever kind; the job goes on if it was parked. QueueFull, QueueShareFull."""
        if kept.stream is not None:
            self._dispatcher.unpark(kept.stream)
        if (handle := self._leaving.pop(kept.id, None)) is not None:
            handle.cancel()
        kept.followers.append(reader)
        kept.resume()  # whoever held the stream back may be the one who has left

    def stop(self, stream_id: str, owner: str) -> None:
        """End a stream for all its readers. StreamNotFound."""
        self._check(stream_id, owner)
        kept = self._kept.get(stream_id)
        if kept is not None and kept.stream is not None:
            self._dispatcher.give_up(kept.stream, "stopped")
        elif self._neighbours is not None:
            self._neighbours.stop(stream_id)

    def report(self, stream_id: str, owner: str, report: ReaderReport) -> None:
        """What a reader tells of itself; the last word counts. StreamNotFound."""
        self._check(stream_id, owner)
        kept = self._kept.get(stream_id)
        if kept is not None and kept.stream is not None:
            report.measure(kept.stream)
            kept.report = report  # the next round tells the scheduler: at most twice a second
        elif self._neighbours is not None:
            self._neighbours.report(stream_id, report)

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
        if (handle := self._leaving.pop(kept.id, None)) is not None:
            handle.cancel()  # else it would drop the stream also under a reader who is back
        loop = asyncio.get_running_loop()
        self._leaving[kept.id] = loop.call_later(self.window_s, self._drop, kept)

    def more_to_come(self, stream_id: str) -> bool:
        """Whether another gateway writes it, or some of it is on its way to where all can read it."""
        return self._neighbours is not None and self._neighbours.more_to_come(stream_id)

    def find(self, stream_id: str) -> Kept | None:
        """A stream that is live, or read, here."""
        return self._kept.get(stream_id)

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
        if report is None or stream is None or stream.parked or stream.end.done():
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
