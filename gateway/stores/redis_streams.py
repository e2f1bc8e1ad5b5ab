"""Stream logs that other gateways can read, and go on with when their writer has died.

What is appended is kept here and sent to Redis in batches, a few times a second for each stream. Readers see an event
only once Redis has it: so whoever takes the stream over has all that any reader has seen. While Redis is away readers
see everything at once, as in a lone gateway, and what Redis missed is sent when it is back.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from gateway.errors import Unavailable
from gateway.stores.followers import Followers
from gateway.stores.memory_streams import MemoryStreamLog, check_offset
from gateway.stores.redis_commands import Call, Command, Refused
from gateway.stores.redis_link import RedisLink
from gateway.stores.redis_stream_commands import OPEN, START, Entry, Writing, add, number_of
from gateway.stores.stream_exchange import Position
from gateway.stores.stream_log import LogLimits, LogPage

GRID_S: Final = 0.05
QUICK: Final = 3  # sends of a stream that follow each other quickly
QUICK_S: Final = 0.1
CALM_S: Final = 0.25
BATCH_BYTES: Final = 4 << 20  # what does not fit waits for the next one
TRIM: Final = 1000  # events that Redis may have more than we do


@dataclass(frozen=True, slots=True)
class _Sent:
    """What a batch carries of one stream: where its answer is, and what it means if it is good."""

    stream_id: str
    at: int
    entry: Entry
    mark: Position


class RedisStreamLog:
    """The port `StreamLog`, as far as streams are ours; `run` sends, for ever. `sent` hears each entry that Redis has,
    `fenced` each stream that another gateway has taken."""

    def __init__(
        self, link: RedisLink, gateway_id: str, limits: LogLimits | None = None, *, calm_s: float = CALM_S
    ) -> None:
        self.local = MemoryStreamLog(limits)
        self.writing: dict[str, Writing] = {}
        self.sent: Callable[[str, Writing, Entry], None] = lambda *_: None
        self.fenced: Callable[[str], None] = lambda _: None
        self._link = link
        self._gateway_id = gateway_id
        self._limits = limits or LogLimits()
        self._calm_s = calm_s  # between two sends of one stream
        self._followers = Followers()
        self._wake = asyncio.Event()
        self._done: dict[str, int] = {}  # streams that are over, with the numbers of their logs, while we keep them
        self._gone: list[Command] = []
        link.listen(self)

    def __repr__(self) -> str:
        return f"<RedisStreamLog {len(self.writing)} written here, {self.local!r}>"

    # ---- StreamLog

    def open(self, stream_id: str, owner: str, *, now: float) -> None:
        if self.local.full:
            self.expire(now=now)
        self.local.open(stream_id, owner, now=now)
        self.writing[stream_id] = Writing(owner)
        self._wake.set()

    def append(self, stream_id: str, events: Sequence[bytes], *, now: float) -> int:
        last = self.local.append(stream_id, events, now=now)
        self._moved(stream_id)
        return last

    def close_stream(self, stream_id: str, *, now: float) -> None:
        self.local.close_stream(stream_id, now=now)
        if (writing := self.writing.get(stream_id)) is not None:
            writing.due_at = 0.0
        self._moved(stream_id)

    def owner(self, stream_id: str) -> str:
        return self.local.owner(stream_id)

    def read(self, stream_id: str, after: int, *, max_bytes: int) -> LogPage:
        writing = self.writing.get(stream_id)
        if writing is None:
            return self.local.read(stream_id, after, max_bytes=max_bytes)
        first, last, closed = self.local.bounds(stream_id)
        if not self._link.available:
            writing.shown = last
        seen = max(writing.shown, writing.acked)
        check_offset(after, first_kept=first, last=seen)
        page = self.local.read(stream_id, after, max_bytes=max_bytes)
        events = page.events[: seen - after]
        end = closed and seen == last and (writing.closed or not self._link.available)
        return LogPage(page.first, events, closed=end and after + len(events) == last)

    def follow(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        self.local.owner(stream_id)
        return self._followers.add(stream_id, changed)

    def drop(self, stream_id: str) -> None:
        self.local.drop(stream_id)
        self._forget_dropped()

    def expire(self, *, now: float) -> int:
        count = self.local.expire(now=now)
        self._forget_dropped()
        return count

    def flush(self) -> None:
        """The task that sends has its own rhythm."""

    def close(self) -> None:
        self.local.close()
        self.writing.clear()

    # ---- Listener

    def changed(self, available: bool) -> None:
        """Away: readers see everything. Back: it is not sure what Redis has kept."""
        for stream_id, writing in tuple(self.writing.items()):
            writing.unsure = available
            if not available:
                self._followers.tell(stream_id)
        if available:
            self._wake.set()

    def emptied(self) -> None:
        """What is not over is written again."""
        self.changed(True)

    # ---- for followers

    def followed(self, stream_id: str) -> bool:
        """Whether anyone follows here."""
        return self._followers.has(stream_id)

    @property
    def behind(self) -> int:
        """Streams of which Redis does not have everything, or still has something that it should not."""
        return len(self._gone) + sum(self._has_news(stream_id, writing) for stream_id, writing in self.writing.items())

    def keys(self, stream_id: str, epoch: int) -> list[str]:
        """The names of a stream's hash and log."""
        return [self._link.key("stream", stream_id, "state"), self._link.key("stream", stream_id, "log", str(epoch))]

    def _forget_dropped(self) -> None:
        """What was ours and is not here any more goes from Redis too."""
        epochs = self._done | {stream_id: writing.epoch for stream_id, writing in self.writing.items()}
        for stream_id in [each for each in epochs if not self.local.has(each)]:
            self._done.pop(stream_id, None)
            self.writing.pop(stream_id, None)
            self._gone.extend(("DEL", name) for name in self.keys(stream_id, epochs[stream_id]))
            self._wake.set()

    def _moved(self, stream_id: str) -> None:
        if stream_id not in self.writing or not self._link.available:
            self._followers.tell(stream_id)
        self._wake.set()

    # ---- sending

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._link.wait()
            try:
                await self._check_unsure()
                waiting = await self._send()
            except Unavailable:
                continue  # `changed` wakes us
            if waiting:
                await asyncio.sleep(min(GRID_S, self._calm_s))
                self._wake.set()

    async def _send(self) -> bool:
        """One batch of what is due; whether something is due later, or again."""
        now = monotonic()
        gone = len(self._gone)
        commands = list(self._gone)
        sent: list[_Sent] = []
        empty: list[Writing] = []  # that are only opened
        waiting, size = False, 0
        for stream_id, writing in tuple(self.writing.items()):
            if self._has_news(stream_id, writing):
                waiting = True
                if writing.due_at <= now and size < BATCH_BYTES:
                    before = len(sent)
                    size += self._compose(stream_id, writing, now, commands, sent)
                    if len(sent) == before:
                        empty.append(writing)
        answers = await self._link.batch(commands) if commands else []
        del self._gone[:gone]
        for writing in empty:
            writing.opened = True
        for each in sent:
            await self._sent(each, answers[each.at])
        return waiting

    def _has_news(self, stream_id: str, writing: Writing) -> bool:
        _, last, closed = self.local.bounds(stream_id)
        return not writing.opened or last > writing.acked or (closed and not writing.closed)

    def _compose(self, stream_id: str, writing: Writing, now: float, commands: list[Command], sent: list[_Sent]) -> int:
        """Add what is due of a stream to the batch; its bytes."""
        first, last, closed = self.local.bounds(stream_id)
        state, log = self.keys(stream_id, writing.epoch)
        after = max(writing.acked, first - 1)
        if not writing.opened:
            origin = writing.record.origin() if writing.record is not None else b""
            life = round(self._limits.open_ttl_s * 1000)
            facts = (writing.owner, self._gateway_id, writing.epoch, origin, life, after)
            commands.append(Call(OPEN, [state, log], facts))
            writing.renewed_at = now
        page = self.local.read(stream_id, after, max_bytes=2 * self._limits.max_bytes)  # all of it: so has the progress
        trim = first - writing.kept_from >= TRIM
        progress, mark = b"", writing.mark
        if writing.record is not None:
            progress, mark = writing.record.progress(START if trim else writing.mark)
        entry = Entry(after + 1, list(page.events), progress, closed and page.last == last)
        if entry.events or entry.closed:
            sent.append(_Sent(stream_id, len(commands), entry, mark))
            commands.append(add(log, entry, keep_from=first if trim else None))
            writing.kept_from = first if trim else writing.kept_from
        self._renew(writing, (state, log), entry, now, commands)
        writing.sends += 1
        writing.due_at = now + (min(QUICK_S, self._calm_s) if writing.sends <= QUICK else self._calm_s)
        return sum(map(len, entry.events)) + len(progress)

    def _renew(self, writing: Writing, names: Sequence[str], entry: Entry, now: float, commands: list[Command]) -> None:
        """Lifetimes: long while the stream runs, short behind its end."""
        life_s = self._limits.ttl_s if entry.closed else self._limits.open_ttl_s
        if entry.closed or now - writing.renewed_at > life_s / 3:
            writing.renewed_at = now
            commands.extend(("PEXPIRE", name, round(life_s * 1000)) for name in names)

    async def _sent(self, sent: _Sent, answer: Any) -> None:
        writing = self.writing.get(sent.stream_id)
        if writing is None:
            return
        if answer is None:
            await self._refused(sent.stream_id, writing)
            return
        if isinstance(answer, Refused) and "equal or smaller" not in answer.why:
            writing.unsure = True
            return
        writing.opened = True
        writing.acked = max(writing.acked, sent.entry.last)
        writing.shown = max(writing.shown, writing.acked)
        writing.mark = sent.mark
        writing.closed = writing.closed or sent.entry.closed
        self._followers.tell(sent.stream_id)
        self.sent(sent.stream_id, writing, sent.entry)
        _, last, closed = self.local.bounds(sent.stream_id)
        if writing.closed and closed and writing.acked == last:
            del self.writing[sent.stream_id]
            self._done[sent.stream_id] = writing.epoch
            self._followers.tell(sent.stream_id)

    async def _refused(self, stream_id: str, writing: Writing) -> None:
        """The log is not there: Redis has lost it, or another gateway has it."""
        state, _ = self.keys(stream_id, writing.epoch)
        gateway, epoch = await self._link.do("HMGET", state, "gateway", "epoch")
        if gateway is not None and (gateway.decode(), int(epoch)) != (self._gateway_id, writing.epoch):
            del self.writing[stream_id]
            self.fenced(stream_id)
        else:
            self._again(writing, 0)

    async def _check_unsure(self) -> None:
        """After a break: go on behind the last entry that Redis has."""
        unsure: Mapping[str, Writing] = {name: each for name, each in self.writing.items() if each.unsure}
        if not unsure:
            return
        asked = [("XREVRANGE", self.keys(name, each.epoch)[1], "+", "-", "COUNT", 1) for name, each in unsure.items()]
        answers = await self._link.batch(asked)
        for (stream_id, writing), answer in zip(unsure.items(), answers, strict=True):
            writing.unsure = False
            if stream_id not in self.writing or not writing.opened:
                continue
            if isinstance(answer, Refused) or not answer:
                await self._refused(stream_id, writing)
            elif (last := number_of(answer[0])) < writing.acked:
                self._again(writing, last)

    def _again(self, writing: Writing, acked: int) -> None:
        """Send what Redis lacks, with all that was said before."""
        writing.opened = acked > 0
        writing.shown = max(writing.shown, writing.acked)
        writing.acked, writing.mark, writing.closed, writing.due_at = acked, START, False, 0.0
        self._wake.set()
