"""Stream logs of two gateways on one Redis, used by tests that know only one log and no event loop."""

import itertools
from collections.abc import Callable, Sequence

from gateway.stores.redis_exchange import RedisStreamExchange
from gateway.stores.redis_heartbeat import Heartbeat
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.redis_streams import RedisStreamLog
from gateway.stores.stream_exchange import StreamWatcher, Word
from gateway.stores.stream_log import LogLimits, LogPage
from tests.support.pairs import Loop, Tripwire

_names = itertools.count(1)


class Quiet(StreamWatcher):
    """A gateway's runtime that does nothing."""

    def lost(self, stream_id: str) -> None:
        """Nothing."""

    def orphaned(self, stream_id: str) -> None:
        """Nothing."""

    def read_from_afar(self, stream_id: str, gateway_id: str, reading: bool) -> None:
        """Nothing."""

    def told(self, stream_id: str, word: Word, data: bytes) -> None:
        """Nothing."""

    def passing(self, stream_id: str, data: bytes) -> None:
        """Nothing."""


class Node:
    """One gateway's streams. Its clock stands at 0, as the tests' own begins."""

    def __init__(self, loop: Loop, settings: LinkSettings, gateway_id: str, limits: LogLimits | None) -> None:
        self.link = RedisLink(settings)
        heartbeat = Heartbeat(self.link, gateway_id)
        self.log = RedisStreamLog(self.link, gateway_id, limits, calm_s=0.0)
        self.exchange = RedisStreamExchange(self.link, heartbeat, self.log, lambda: 0.0)
        self.exchange.watch(Quiet())
        for run in (self.link.run, heartbeat.run, self.log.run, self.exchange.run):
            loop.spawn(run)


class TwoStreamLogs:
    """The port `StreamLog`: one gateway writes, and what is read is read at the other one, once Redis has it."""

    def __init__(self, loop: Loop, url: str, limits: LogLimits | None, tripwire: Tripwire | None) -> None:
        settings = LinkSettings(url, prefix=f"pair-{next(_names)}")
        self.writer, self.reader = (Node(loop, settings, name, limits) for name in ("writer", "reader"))
        self._loop = loop
        self._tripwire = tripwire

    def open(self, stream_id: str, owner: str, *, now: float) -> None:
        self.writer.log.open(stream_id, owner, now=now)
        self._settle()

    def append(self, stream_id: str, events: Sequence[bytes], *, now: float) -> int:
        self._arm()
        last = self.writer.log.append(stream_id, events, now=now)
        self._settle(stream_id)
        return last

    def close_stream(self, stream_id: str, *, now: float) -> None:
        self._arm()
        self.writer.log.close_stream(stream_id, now=now)
        self._settle(stream_id)

    def owner(self, stream_id: str) -> str:
        self._attach(stream_id)
        return self.reader.log.owner(stream_id)

    def read(self, stream_id: str, after: int, *, max_bytes: int) -> LogPage:
        self._attach(stream_id)
        return self.reader.log.read(stream_id, after, max_bytes=max_bytes)

    def follow(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        self._attach(stream_id)
        leave = self.reader.log.follow(stream_id, changed)
        self.reader.exchange.reading(stream_id)
        self._loop.until(lambda: bool(self.writer.log.writing[stream_id].readers), "the writer knows of its reader")
        return leave

    def drop(self, stream_id: str) -> None:
        self.writer.log.drop(stream_id)
        self.reader.log.drop(stream_id)
        self._settle()

    def expire(self, *, now: float) -> int:
        return self.writer.log.expire(now=now)

    def flush(self) -> None:
        self.writer.log.flush()

    def close(self) -> None:
        self.writer.log.close()
        self.reader.log.close()

    def _arm(self) -> None:
        if self._tripwire is not None:
            self._tripwire.arm()

    def _settle(self, stream_id: str = "") -> None:
        self._loop.until(lambda: not self.writer.log.behind, "Redis has everything")
        if self.reader.log.followed(stream_id):
            bounds = self.writer.log.local.bounds(stream_id)
            self._loop.until(lambda: self.reader.log.local.bounds(stream_id) == bounds, "the reader has everything")

    def _attach(self, stream_id: str) -> None:
        self._loop.until(lambda: self.reader.link.available and not self.writer.log.behind)
        self._loop.call(self.reader.exchange.attach(stream_id))
