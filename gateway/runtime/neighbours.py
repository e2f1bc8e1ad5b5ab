"""Streams of other gateways, as this one sees them: read here, told of their readers, taken over when theirs dies."""

import asyncio
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from gateway.errors import Draining, EngineFailed, GatewayError, QueueFull, QueueShareFull, StreamNotFound, Unavailable
from gateway.runtime import handover
from gateway.runtime.admission import Admission
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.followers import Keeper, Kept, LastWords, Reader, ReaderAfar
from gateway.runtime.state import ReaderReport
from gateway.runtime.stream import Stream
from gateway.stores.stream_exchange import Inheritance, StreamExchange, Word

RETRY_S: Final = 1.0  # between two tries to find room for a stream


class Counter(Protocol):
    """The desk, as far as it is needed here."""

    def find(self, stream_id: str) -> Kept | None: ...

    def take_up(self, stream_id: str, stream: Stream, last_words: LastWords) -> Kept: ...

    def come(self, kept: Kept, reader: Reader) -> None: ...


class Desk(Counter, Keeper, Protocol):
    """All of it. `window_s`: how long a stream waits for its reader, and for room."""

    window_s: float


class Neighbours:
    """The port `StreamWatcher`, and what the desk asks of other gateways."""

    def __init__(self, exchange: StreamExchange, dispatcher: Dispatcher, admission: Admission) -> None:
        self._exchange = exchange
        self._dispatcher = dispatcher
        self._admission = admission
        self._desk: Desk | None = None
        self._heirless: dict[str, asyncio.Task[None]] = {}  # ours, but there was no room in the queue
        self._adopting: dict[str, asyncio.Task[None]] = {}
        exchange.watch(self)

    def __repr__(self) -> str:
        return f"<Neighbours, taking over {len(self._adopting)} streams>"

    def serve(self, desk: Desk) -> None:
        """Whose streams and readers these are; once, at the start."""
        self._desk = desk

    # ---- for the desk

    @property
    def desk(self) -> Desk:
        assert self._desk is not None  # `serve` comes first
        return self._desk

    def keep(self, stream: Stream) -> None:
        """Keep what others need to go on with it."""
        self._exchange.keep(stream.request.id, handover.StreamTale(stream))

    async def fetch(self, stream_id: str, owner: str, last_words: LastWords) -> None:
        """Have the log here; take the stream over if its writer is dead. StreamNotFound, Unavailable, Draining."""
        if self._dispatcher.draining:
            raise _leaving()
        await self._exchange.attach(stream_id)
        if self.desk.log.owner(stream_id) != owner:
            raise StreamNotFound("There is no such stream.")
        if self._exchange.more_to_come(stream_id) and self.desk.find(stream_id) is None:
            await asyncio.shield(self._adoption(stream_id, last_words))
        if self._dispatcher.draining and self._exchange.more_to_come(stream_id):
            raise _leaving()  # it came to that meanwhile, and nobody takes the stream over here any more

    def reading(self, stream_id: str) -> None:
        """Somebody reads it here."""
        self._exchange.reading(stream_id)

    def stop(self, stream_id: str) -> None:
        """End it for all its readers."""
        self._exchange.send(stream_id, Word.STOP)

    def report(self, stream_id: str, report: ReaderReport) -> None:
        """What a reader tells of itself."""
        self._exchange.send(stream_id, Word.REPORT, msgspec.msgpack.encode(report))

    def more_to_come(self, stream_id: str) -> bool:
        """Whether its log may still grow."""
        return self._exchange.more_to_come(stream_id)

    # ---- StreamWatcher

    def lost(self, stream_id: str) -> None:
        kept = self.desk.find(stream_id)
        if kept is None:
            return
        if kept.stream is not None:
            self._admission.leave(kept.stream.request)
            self._dispatcher.give_up(kept.stream, "taken_over")
        else:
            kept.end_all()
            self.desk.over(kept)

    def orphaned(self, stream_id: str) -> None:
        kept = self.desk.find(stream_id)
        if kept is not None and kept.stream is None:
            self._adoption(stream_id, kept.last_words)

    def read_from_afar(self, stream_id: str, gateway_id: str, reading: bool) -> None:
        kept = self.desk.find(stream_id)
        if kept is None:
            return
        afar = next((each for each in kept.afar if each.gateway_id == gateway_id), None)
        if not reading and afar is not None:
            kept.afar.remove(afar)
            kept.left(afar)
        elif reading and afar is None:
            afar = ReaderAfar(self._exchange, stream_id, gateway_id)
            with suppress(QueueFull, QueueShareFull):  # then the job stays parked, and its reader waits
                self.desk.come(kept, afar)
                kept.afar.append(afar)

    def told(self, stream_id: str, word: Word, data: bytes) -> None:
        kept = self.desk.find(stream_id)
        if kept is None or kept.stream is None:
            return
        if word is Word.STOP:
            self._dispatcher.give_up(kept.stream, "stopped")
        else:
            kept.report = msgspec.msgpack.decode(data, type=ReaderReport)
            kept.report.measure(kept.stream)

    def passing(self, stream_id: str, data: bytes) -> None:
        kept = self.desk.find(stream_id)
        if kept is not None and kept.stream is None:
            kept.tell(data)

    # ---- taking over

    def _adoption(self, stream_id: str, last_words: LastWords) -> "asyncio.Task[None]":
        """One at a time for each stream."""
        task = self._adopting.get(stream_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._adopt(stream_id, last_words))
            self._adopting[stream_id] = task
            task.add_done_callback(lambda _: self._adopting.pop(stream_id, None))
        return task

    async def _adopt(self, stream_id: str, last_words: LastWords) -> None:
        if self._dispatcher.draining or stream_id in self._heirless:
            return
        try:
            inherited = await self._exchange.claim(stream_id)
        except Unavailable:
            return  # whoever reads it asks again, and so do we
        if inherited is None or not self._exchange.more_to_come(stream_id):
            return
        if not self._revive(stream_id, inherited, last_words):
            self._put_off(stream_id, inherited, last_words)

    def _revive(self, stream_id: str, inherited: Inheritance, last_words: LastWords) -> bool:
        """Go on with a stream that is ours, or end it where that cannot be; False: there is no room for it now."""
        if self._dispatcher.draining:  # we count as gone: whoever its readers come to may claim it
            self._send_away(stream_id)
            return True
        try:
            stream = self._revived(inherited)
        except (QueueFull, QueueShareFull):
            return False
        except GatewayError as error:
            self._end(stream_id, error, last_words)
            return True
        kept = self.desk.take_up(stream_id, stream, last_words)
        try:
            if kept.followers:
                self._dispatcher.unpark(stream)
                return True
        except (QueueFull, QueueShareFull):
            kept.end_all()  # they come back, and then there may be room
        self.desk.nobody_reads(kept)
        return True

    def _put_off(self, stream_id: str, inherited: Inheritance, last_words: LastWords) -> None:
        """There is no room for it now. Its readers are sent away: they come back, and then there may be some."""
        self._send_away(stream_id)
        task = asyncio.get_running_loop().create_task(self._try_again(stream_id, inherited, last_words))
        self._heirless[stream_id] = task
        task.add_done_callback(lambda _: self._heirless.pop(stream_id, None))

    async def _try_again(self, stream_id: str, inherited: Inheritance, last_words: LastWords) -> None:
        """Until there is room, or its window ends: then its readers hear so."""
        for _ in range(max(1, round(self.desk.window_s / RETRY_S))):
            await asyncio.sleep(RETRY_S)
            if not self._exchange.more_to_come(stream_id) or self._revive(stream_id, inherited, last_words):
                return
        self._end(stream_id, QueueFull("There was no room to go on with the answer.", retry_after_s=1.0), last_words)

    def _end(self, stream_id: str, error: GatewayError, last_words: LastWords) -> None:
        now = self.desk.clock.wall()
        try:
            self.desk.log.append(stream_id, [last_words(error)], now=now)
            self.desk.log.close_stream(stream_id, now=now)
        except (StreamNotFound, Unavailable):
            self._send_away(stream_id)

    def _send_away(self, stream_id: str) -> None:
        if (kept := self.desk.find(stream_id)) is not None:
            kept.end_all()

    def _revived(self, inherited: Inheritance) -> Stream:
        cannot = EngineFailed("The gateway that ran this has died, and the answer cannot go on elsewhere.")
        try:
            transcript = handover.transcript_of(inherited.progress)
            request = handover.unpacked(inherited.origin)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:  # from another version of us
            raise cannot from error
        if inherited.last and (transcript is None or transcript.broken):
            raise cannot
        request = self._admission.take_over(request)
        return self._dispatcher.adopt(request, transcript, inherited.epoch)


def _leaving() -> Draining:
    return Draining("The gateway is shutting down.", retry_after_s=1.0)
