"""Stream logs of a lone gateway, gone with its process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.errors import StreamGone, StreamNotFound, Unavailable
from gateway.stores.stream_log import LogLimits, LogPage


def unknown() -> StreamNotFound:
    """The same words for a stream that is gone, was never there, or is somebody else's."""
    return StreamNotFound("There is no such stream.")


@dataclass(slots=True)
class _Log:
    owner: str
    changed_at: float
    events: list[bytes] = field(default_factory=list)
    dropped: int = 0
    size: int = 0
    closed: bool = False
    followers: list[Callable[[], None]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.dropped + len(self.events)


class MemoryStreamLog:
    """The port `StreamLog` over a dict."""

    def __init__(self, limits: LogLimits | None = None) -> None:
        self._limits = limits or LogLimits()
        self._logs: dict[str, _Log] = {}

    def __repr__(self) -> str:
        return f"<MemoryStreamLog {len(self._logs)} streams>"

    def open(self, stream_id: str, owner: str, *, now: float) -> None:
        if stream_id in self._logs:
            raise ValueError(f"stream {stream_id} is already here")
        if len(self._logs) >= self._limits.max_streams and not self.expire(now=now):
            raise Unavailable("Too many streams are kept for their readers.", retry_after_s=1.0)
        self._logs[stream_id] = _Log(owner, now)

    def append(self, stream_id: str, events: Sequence[bytes], *, now: float) -> int:
        log = self._log(stream_id)
        log.events.extend(events)
        log.size += sum(map(len, events))
        log.changed_at = now
        if log.size > self._limits.max_bytes:
            self._shorten(log)
        for changed in tuple(log.followers):
            changed()
        return log.last

    def close_stream(self, stream_id: str, *, now: float) -> None:
        log = self._log(stream_id)
        if not log.closed:
            log.closed, log.changed_at = True, now
            for changed in tuple(log.followers):
                changed()

    def owner(self, stream_id: str) -> str:
        return self._log(stream_id).owner

    def read(self, stream_id: str, after: int, *, max_bytes: int) -> LogPage:
        log = self._log(stream_id)
        check_offset(after, first_kept=log.dropped + 1, last=log.last)
        events: list[bytes] = []
        size = 0
        for index in range(after - log.dropped, len(log.events)):
            event = log.events[index]
            if events and size + len(event) > max_bytes:
                break
            events.append(event)
            size += len(event)
        return LogPage(after + 1, events, closed=log.closed and after + len(events) == log.last)

    def follow(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        followers = self._log(stream_id).followers
        followers.append(changed)
        return lambda: followers.remove(changed) if changed in followers else None

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return len(self._logs) >= self._limits.max_streams

    def has(self, stream_id: str) -> bool:
        """Whether there is such a log."""
        return stream_id in self._logs

    def begin_at(self, stream_id: str, number: int) -> None:
        """What comes before this event was never here. Only for a log without events."""
        log = self._log(stream_id)
        if not log.events:
            log.dropped = number - 1

    def bounds(self, stream_id: str) -> tuple[int, int, bool]:
        """The first event that is kept (or the next one), the last one, whether it is closed. StreamNotFound."""
        log = self._log(stream_id)
        return log.dropped + 1, log.last, log.closed

    def drop(self, stream_id: str) -> None:
        self._logs.pop(stream_id, None)

    def expire(self, *, now: float) -> int:
        limits = self._limits
        old = [
            name
            for name, log in self._logs.items()
            if now - log.changed_at > (limits.ttl_s if log.closed else limits.open_ttl_s)
        ]
        for name in old:
            del self._logs[name]
        return len(old)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self._logs.clear()

    def _shorten(self, log: _Log) -> None:
        count = 0
        while log.size > self._limits.max_bytes and count < len(log.events) - 1:
            log.size -= len(log.events[count])
            count += 1
        del log.events[:count]
        log.dropped += count

    def _log(self, stream_id: str) -> _Log:
        try:
            return self._logs[stream_id]
        except KeyError:
            raise unknown() from None


def check_offset(after: int, *, first_kept: int, last: int) -> None:
    """StreamGone or StreamNotFound for an offset that cannot be read from."""
    if after + 1 < first_kept:
        raise StreamGone("The part of the stream that comes next for you is not kept any more.")
    if after > last:
        raise StreamNotFound("The stream has not come that far.", param="starting_after")
