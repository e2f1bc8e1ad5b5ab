"""A reader's network: slow, or dead for a while. What cannot be read stays in the socket, as it would on a real one.

The server feels it as it would feel a distant phone: its writes are not taken, its buffers fill. Nothing is dropped:
over TCP a lost packet holds back everything behind it, and then all of it comes at once.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from loadgen.connections import Connection, clock
from loadgen.workload import Reader

SHORT_S: Final = 0.02
"""A wait that is shorter is saved up: pausing for every event would cost more than it shows."""


PACKET_BYTES: Final = 1400


class Network:
    """Holds back one connection's reading. `close` when its answer is over."""

    def __init__(self, reader: Reader, planned: float, connection: Connection) -> None:
        """`planned` is the request's arrival by the clock: outages count from there."""
        self._connection = connection
        self._bytes_per_s = reader.bytes_per_s
        self._dead = False
        self.free_at = 0.0
        """When the last byte will have come through."""
        self._timers: list[tuple[float, asyncio.TimerHandle]] = []
        for begin, end in reader.outages:
            if planned + end > clock():
                self._later(planned + begin, self._die)
                self._later(planned + end, self._revive)

    def arrivals(self, data: bytes, now: float) -> Iterator[tuple[bytes, float]]:
        """What was read, packet by packet, with the time at which a slow line would have had it whole.

        Reading goes on when the line is free again.
        """
        if self._bytes_per_s is None:
            yield data, now
            return
        for at in range(0, len(data), PACKET_BYTES):
            packet = data[at : at + PACKET_BYTES]
            self.free_at = max(self.free_at, now) + len(packet) / self._bytes_per_s
            yield packet, self.free_at
        if self.free_at - now > SHORT_S:
            self._connection.pause_reading()
            self._later(self.free_at, self._go_on)

    def close(self) -> None:
        """The answer is over; the connection is used again at its full speed."""
        for _, timer in self._timers:
            timer.cancel()
        self._connection.resume_reading()

    def _die(self) -> None:
        self._dead = True
        self._connection.pause_reading()

    def _revive(self) -> None:
        self._dead = False
        self._go_on()

    def _go_on(self) -> None:
        if not self._dead and self.free_at <= clock() + SHORT_S:
            self._connection.resume_reading()

    def _later(self, moment: float, what: Callable[[], None]) -> None:
        now = clock()
        self._timers = [each for each in self._timers if each[0] > now]
        timer = asyncio.get_running_loop().call_later(max(0.0, moment - now), what)
        self._timers.append((moment, timer))
