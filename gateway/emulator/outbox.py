"""Bytes on their way from the runner, which must not wait, to the task that writes one response."""

import asyncio
from enum import Enum


class End(Enum):
    """How a response ends."""

    DONE = "whole"
    CUT = "cut off in the middle of the body"
    EXIT = "cut off by the end of the process"


class Outbox:
    """One writer, one reader. What waits in it is bounded by the length of the answer."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._later: list[bytes] = []
        self._end: End | None = None
        self._held = False
        self._waiter: asyncio.Future[None] | None = None

    def push(self, frame: bytes) -> None:
        """Add bytes; dropped after the end."""
        if self._end is None:
            (self._later if self._held else self._frames).append(frame)
            self._wake()

    def close(self, end: End) -> None:
        """Nothing follows; the first end counts."""
        if self._end is None:
            self._end = end
            self._wake()

    def drop(self) -> None:
        """Nobody reads any more: end now, even while held."""
        self._frames.clear()
        self._later.clear()
        self._end = End.CUT
        self.release()

    def hold(self, seconds: float | None) -> None:
        """Keep what is pushed from now on from the reader for so long; None: for ever."""
        self._held = True
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.release)

    def release(self) -> None:
        """End a hold."""
        self._held = False
        self._frames += self._later
        self._later = []
        self._wake()

    async def take(self) -> tuple[bytes, End | None]:
        """All bytes since the last call, at least one unless the end has come, which is given with the last ones."""
        while not self._frames and (self._held or self._end is None):
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        frames, self._frames = self._frames, []
        return b"".join(frames), None if self._held else self._end

    def _wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None
