"""The port of stream logs: what a stream sent, kept for readers who come back.

A log is a list of events, numbered from 1. It is bounded in bytes: the oldest events give way. It is dropped `ttl_s`
after its last change once it is closed, and `open_ttl_s` after it when nobody closed it. Calls are synchronous, since
`append` runs on the token path: a store that writes to a disk or a network keeps what is appended and sends it on in
`flush`, which is called about ten times a second. `now` is Unix time in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Bounds: bytes of one stream, streams, seconds."""

    max_bytes: int = 4 << 20
    max_streams: int = 10_000
    ttl_s: float = 60.0
    open_ttl_s: float = 900.0


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events behind an offset: `first` is the number of the first of them; `closed`: none will follow the last one."""

    first: int
    events: Sequence[bytes]
    closed: bool

    @property
    def last(self) -> int:
        """The number of the last one, or the offset that was asked for."""
        return self.first + len(self.events) - 1


class StreamLog(Protocol):
    """Logs of streams by their ids; an owner's stream does not exist for others."""

    def open(self, stream_id: str, owner: str, *, now: float) -> None:
        """Begin a log. ValueError if there is one; Unavailable when there are too many."""

    def append(self, stream_id: str, events: Sequence[bytes], *, now: float) -> int:
        """Add events; the number of the last one. StreamNotFound."""

    def close_stream(self, stream_id: str, *, now: float) -> None:
        """Nothing follows; again is the same. StreamNotFound."""

    def owner(self, stream_id: str) -> str:
        """Whose it is. StreamNotFound."""

    def read(self, stream_id: str, after: int, *, max_bytes: int) -> LogPage:
        """Events numbered above `after`, at least one if there is one, else about `max_bytes` of them.

        StreamNotFound, also if `after` lies in the future; StreamGone if some of them have been dropped.
        """

    def follow(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after every append and at the close; what is returned ends that. StreamNotFound."""

    def drop(self, stream_id: str) -> None:
        """Forget a log, if there is one."""

    def expire(self, *, now: float) -> int:
        """Forget what is too old; how many logs these were."""

    def flush(self) -> None:
        """Send on what was appended. Unavailable."""

    def close(self) -> None:
        """Give back what the store holds open."""
