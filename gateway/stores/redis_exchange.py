"""Streams of other gateways: their logs are copied here while somebody reads them here.

A copy begins with what Redis has. From then on the writer sends what it adds to this gateway's channel, behind its
acknowledgement by Redis; a message that does not follow the last one shows that something was missed, and Redis is
asked again. Who reads says so every second, and so the writer knows that it is read from afar; a writer that gives no
sign of life leaves an orphan. One message for each gateway at a time carries all streams.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gateway.errors import StreamNotFound, Unavailable
from gateway.stores.memory_streams import unknown
from gateway.stores.redis_heartbeat import Heartbeat
from gateway.stores.redis_link import RedisLink
from gateway.stores.redis_post import RedisPost
from gateway.stores.redis_stream_commands import CLAIM, Copy, Entry, Writing, entry_of
from gateway.stores.redis_streams import RedisStreamLog
from gateway.stores.stream_exchange import Inheritance, StreamRecord, StreamWatcher, Word
from gateway.stores.stream_log import LogLimits

ROUND_S: Final = 1.0
READING_S: Final = 3.5  # a reading gateway that has not said so for this long has gone
OPEN_LIFE_MS: Final = round(LogLimits().open_ttl_s * 1000)


class RedisStreamExchange:
    """The port `StreamExchange`; `run` sends and looks after copies, for ever. `wall` is Unix time, as logs have it."""

    def __init__(self, link: RedisLink, heartbeat: Heartbeat, log: RedisStreamLog, wall: Callable[[], float]) -> None:
        self.taken_over = 0
        self.lost = 0
        self._link = link
        self._heartbeat = heartbeat
        self._log = log
        self._wall = wall
        self._watcher: StreamWatcher | None = None
        self._copies: dict[str, Copy] = {}
        self._fills: set[asyncio.Task[None]] = set()
        self._post = RedisPost(link, heartbeat.id, self._hear)
        log.sent = self._pass_entry
        log.fenced = self._fenced
        link.listen(self)

    def __repr__(self) -> str:
        return f"<RedisStreamExchange {len(self._copies)} copies>"

    # ---- StreamExchange

    def watch(self, watcher: StreamWatcher) -> None:
        self._watcher = watcher

    def keep(self, stream_id: str, record: StreamRecord) -> None:
        self._log.writing[stream_id].record = record

    async def attach(self, stream_id: str) -> None:
        if stream_id in self._log.writing:
            return
        copy, here = self._copies.get(stream_id), self._log.local.has(stream_id)
        if copy is None and here:
            return  # ours, and over
        if copy is None or not here:
            copy = await self._begin_copy(stream_id)
        copy.unread_rounds = 0  # it is wanted: it must not go just now
        await self._fill(stream_id, copy)

    def reading(self, stream_id: str) -> None:
        if (copy := self._copies.get(stream_id)) is not None and not copy.closed:
            self._post.send(copy.gateway, "reading", stream_id, self._heartbeat.id)

    def more_to_come(self, stream_id: str) -> bool:
        copy = self._copies.get(stream_id)
        return stream_id in self._log.writing or (copy is not None and not copy.closed)

    async def claim(self, stream_id: str) -> Inheritance | None:
        copy = self._copies.get(stream_id)
        if copy is None or copy.closed or not await self._dead(copy.gateway):
            return None
        state, before = self._log.keys(stream_id, copy.epoch)
        after = self._log.keys(stream_id, copy.epoch + 1)[1]
        keys = [state, before, after]
        if not await self._link.run_script(CLAIM, keys, copy.epoch, self._heartbeat.id, copy.epoch + 1, OPEN_LIFE_MS):
            await self._look_again(stream_id, copy)
            return None
        copy.gateway, copy.epoch = self._heartbeat.id, copy.epoch + 1
        return await self._inherit(stream_id, copy, state, after)

    async def hand_over(self) -> int:
        try:
            others = await self._heartbeat.leave()
        except Unavailable:
            return 0
        ours = [name for name, each in self._log.writing.items() if each.opened and not self._log.local.bounds(name)[2]]
        copies = [name for name, each in self._copies.items() if not each.closed]
        if not others or not self._link.available:
            return 0
        for stream_id in ours:  # what Redis does not have yet no reader has seen
            del self._log.writing[stream_id]
            self._give_away(stream_id)
        for stream_id in copies:  # their writers go on, or give them to those who stay: their readers go there too
            self._give_away(stream_id)
            del self._copies[stream_id]
        return len(ours)

    def send(self, stream_id: str, word: Word, data: bytes = b"") -> None:
        if copy := self._copies.get(stream_id):
            self._post.send(copy.gateway, word.value, stream_id, data)

    def pass_on(self, stream_id: str, gateway_id: str, data: bytes) -> None:
        self._post.send(gateway_id, "passing", stream_id, data)

    # ---- Listener

    def changed(self, available: bool) -> None:
        """Messages may have been missed: look at Redis again."""
        if available:
            for stream_id, copy in self._copies.items():
                self._fill_soon(stream_id, copy)

    def emptied(self) -> None:
        """Writers will write their logs again; `changed` looks."""

    # ---- copies

    async def _begin_copy(self, stream_id: str) -> Copy:
        state, _ = self._log.keys(stream_id, 0)
        owner, gateway, epoch = await self._link.do("HMGET", state, "owner", "gateway", "epoch")
        if owner is None:
            raise unknown()
        if not self._log.local.has(stream_id):
            self._log.local.open(stream_id, owner.decode(), now=self._wall())
            self._copies[stream_id] = Copy(gateway.decode(), int(epoch))
        return self._copies[stream_id]

    async def _fill(self, stream_id: str, copy: Copy) -> None:
        """Everything that Redis has and we have not; nothing if the log is not where it was. Unavailable."""
        _, log = self._log.keys(stream_id, copy.epoch)
        found = await self._link.do("XRANGE", log, f"{copy.last}-0", "+")
        if not found:
            epoch = copy.epoch
            await self._look_again(stream_id, copy)
            if copy.epoch != epoch:
                await self._fill(stream_id, copy)
        for each in found:
            self._take(stream_id, copy, entry_of(each))

    async def _look_again(self, stream_id: str, copy: Copy) -> None:
        """Somebody else may write it by now."""
        state, _ = self._log.keys(stream_id, 0)
        gateway, epoch = await self._link.do("HMGET", state, "gateway", "epoch")
        if gateway is not None:
            copy.gateway, copy.epoch = gateway.decode(), int(epoch)

    def _take(self, stream_id: str, copy: Copy, entry: Entry) -> bool:
        """Add an entry's events that are new; False if some before them are missing."""
        if entry.first > copy.last + 1:
            if copy.last:
                return False
            self._log.local.begin_at(stream_id, entry.first)
            copy.last = entry.first - 1
        events = entry.events[copy.last + 1 - entry.first :]
        try:
            if events:
                copy.last = self._log.append(stream_id, events, now=self._wall())
            if entry.closed and not copy.closed:
                copy.closed = True
                self._log.close_stream(stream_id, now=self._wall())
        except StreamNotFound:  # too old for us
            self._copies.pop(stream_id, None)
        return True

    def _fill_soon(self, stream_id: str, copy: Copy) -> None:
        async def fill() -> None:
            try:
                await self._fill(stream_id, copy)
            except Unavailable:
                pass  # when it is back, we look again
            finally:
                copy.filling = False

        if not copy.filling and not copy.closed:
            copy.filling = True
            task = asyncio.get_running_loop().create_task(fill())
            self._fills.add(task)
            task.add_done_callback(self._fills.discard)

    async def _dead(self, gateway: str) -> bool:
        return gateway == self._heartbeat.id or await self._heartbeat.gone(gateway)

    async def _inherit(self, stream_id: str, copy: Copy, state: str, log: str) -> Inheritance:
        (owner, origin), found = await self._link.batch(
            [("HMGET", state, "owner", "origin"), ("XRANGE", log, "-", "+")]
        )
        entries = [entry_of(each) for each in found]
        for entry in entries:
            self._take(stream_id, copy, entry)
        self._copies.pop(stream_id, None)
        self.taken_over += 1
        if not copy.closed and self._log.local.has(stream_id):  # else it was given away, or grew too old, meanwhile
            last = copy.last
            kept_from = entries[0].first if entries else 1
            self._log.writing[stream_id] = Writing(
                owner.decode(), copy.epoch, opened=True, acked=last, shown=last, kept_from=kept_from
            )
        progress = [entry.progress for entry in entries if entry.progress]
        return Inheritance(owner.decode(), origin, progress, copy.epoch, copy.last)

    # ---- messages

    def _pass_entry(self, stream_id: str, writing: Writing, entry: Entry) -> None:
        for gateway in writing.readers:
            self._post.send(gateway, "entry", stream_id, entry.first, list(entry.events), entry.closed)

    def _fenced(self, stream_id: str) -> None:
        self.lost += 1
        self._give_away(stream_id)

    def _give_away(self, stream_id: str) -> None:
        if self._watcher is not None:
            self._watcher.lost(stream_id)
        self._log.local.drop(stream_id)

    def _hear(self, message: list[Any]) -> None:
        kind, stream_id, *rest = message
        if kind == "entry":
            first, events, closed = rest
            self._hear_entry(stream_id, Entry(first, events, b"", closed))
        elif kind in ("reading", "left"):
            self._hear_reader(stream_id, rest[0], kind == "reading")
        elif self._watcher is not None:
            if kind == "passing":
                self._watcher.passing(stream_id, rest[0])
            else:
                self._watcher.told(stream_id, Word(kind), rest[0])

    def _hear_entry(self, stream_id: str, entry: Entry) -> None:
        copy = self._copies.get(stream_id)
        if copy is not None and not self._take(stream_id, copy, entry):
            self._fill_soon(stream_id, copy)

    def _hear_reader(self, stream_id: str, gateway_id: str, reading: bool) -> None:
        writing = self._log.writing.get(stream_id)
        if writing is None or self._watcher is None:
            return
        known = gateway_id in writing.readers
        if reading:
            writing.readers[gateway_id] = monotonic() + READING_S
        else:
            writing.readers.pop(gateway_id, None)
        if known != reading:
            self._watcher.read_from_afar(stream_id, gateway_id, reading)

    async def run(self) -> None:
        """Deliver messages, and once a second look after readers and copies, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._post.run())
            while True:
                await asyncio.sleep(ROUND_S)
                try:
                    await self._look_round()
                except Exception as error:  # noqa: BLE001 - the task's edge: one bad round must not be the last
                    what = {"message": "a round of looking after copies failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(what)

    async def _look_round(self) -> None:
        now = monotonic()
        for stream_id, writing in tuple(self._log.writing.items()):
            for gateway in [name for name, until in writing.readers.items() if until < now]:
                self._hear_reader(stream_id, gateway, False)
        for stream_id, copy in tuple(self._copies.items()):
            if self._copies.get(stream_id) is not copy:
                continue  # it was taken over, or went, while we asked for another one
            if self._log.followed(stream_id) and not copy.closed:
                copy.unread_rounds = 0
                self.reading(stream_id)
                if await self._dead(copy.gateway) and self._watcher is not None:
                    self._watcher.orphaned(stream_id)
            else:
                self._forget(stream_id, copy)

    def _forget(self, stream_id: str, copy: Copy) -> None:
        """Nobody has read the copy for two rounds: it goes, and is made again when somebody comes."""
        copy.unread_rounds += 1
        if copy.unread_rounds == 1 and not copy.closed:
            self._post.send(copy.gateway, "left", stream_id, self._heartbeat.id)
        if copy.unread_rounds > 2:
            del self._copies[stream_id]
            self._log.local.drop(stream_id)
