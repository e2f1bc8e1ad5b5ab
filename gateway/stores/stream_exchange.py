"""The port between gateways that share streams' logs: each stream has one gateway that writes it, all may read it.

A gateway makes a stream of another one readable here (`attach`), tells the writer what its readers do (`send`), and
takes the stream over when the writer has died (`claim`). From then on whatever the old writer still sends is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

Position = tuple[int, int]
"""How much of a stream's words is in the shared log: token ids, pieces of text."""


class StreamRecord(Protocol):
    """What must be known beside the log to go on with a stream."""

    def origin(self) -> bytes:
        """The request, as it was admitted."""

    def progress(self, since: Position) -> tuple[bytes, Position]:
        """What was said since then, and up to where; exactly that of which the events are in the log."""


class Word(StrEnum):
    """What a reader's gateway tells a stream's writer."""

    STOP = "stop"
    REPORT = "report"


class StreamWatcher(Protocol):
    """Who is told of what other gateways do; nothing here may block or raise."""

    def lost(self, stream_id: str) -> None:
        """Others write the stream, and nothing more of it comes here: stop at once, and send its readers away."""

    def orphaned(self, stream_id: str) -> None:
        """The writer of a stream that is read here has died."""

    def read_from_afar(self, stream_id: str, gateway_id: str, reading: bool) -> None:
        """Readers at another gateway came, or have left."""

    def told(self, stream_id: str, word: Word, data: bytes) -> None:
        """A reader's gateway says something of its reader."""

    def passing(self, stream_id: str, data: bytes) -> None:
        """The writer says something to readers that is not in the log."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """All that is known of a stream that was taken over: `last` is its last event, `epoch` counts its writers."""

    owner: str
    origin: bytes
    progress: Sequence[bytes]
    epoch: int
    last: int


class StreamExchange(Protocol):
    """See above. The log itself is read, and where it is ours written, by the port `StreamLog`."""

    def watch(self, watcher: StreamWatcher) -> None:
        """Who is told; once, at the start."""

    def keep(self, stream_id: str, record: StreamRecord) -> None:
        """Keep this beside the log that was just opened."""

    async def attach(self, stream_id: str) -> None:
        """Make the log readable here, whoever writes it. StreamNotFound; Unavailable while that cannot be known."""

    def reading(self, stream_id: str) -> None:
        """Somebody reads it here: tell the writer."""

    def more_to_come(self, stream_id: str) -> bool:
        """Whether the log here may still grow: its writer lives, or it was written and is on its way."""

    async def claim(self, stream_id: str) -> Inheritance | None:
        """Be the writer, if the present one has died; None if it lives, or another gateway was quicker."""

    async def hand_over(self) -> int:
        """Stop writing, so that others can claim all streams at once; how many. Those of others are not read here any
        more either. Where nobody is there to claim, all goes on: 0."""

    def send(self, stream_id: str, word: Word, data: bytes = b"") -> None:
        """Tell the writer."""

    def pass_on(self, stream_id: str, gateway_id: str, data: bytes) -> None:
        """Tell readers at another gateway something that is not in the log."""
