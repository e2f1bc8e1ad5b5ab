"""A network that can be lost: TCP connections passed on to a server, until they are cut."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Fault(Enum):
    """What happens to a piece on its way, and then to its connection."""

    NONE = "none"
    LOSE = "lose"  # it does not arrive
    LOSE_ANSWER = "lose the answer"  # it arrives, and the sender does not learn of it


class Relay:
    """Listens on a port of its own, `port`, and passes bytes to `target` and back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._whole = True
        self._fault: Callable[[bytes], Fault] = lambda _: Fault.NONE
        self._flowing = threading.Event()
        self._flowing.set()
        self.delay_s = 0.0  # of every piece, each way
        self.port: int = self._listener.getsockname()[1]

    def cut(self) -> None:
        """Every connection ends now, and new ones end at once."""
        with self._lock:
            self._whole = False
            ends = list(self._open)
        for end in ends:
            shut(end)

    def mend(self) -> None:
        """New connections go through again."""
        with self._lock:
            self._whole = True

    def stall(self) -> None:
        """Connections stay, and nothing passes."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back passes, and what follows."""
        self._flowing.set()

    def inject(self, fault: Callable[[bytes], Fault]) -> None:
        """Ask for each piece that a client sends what shall happen to it."""
        self._fault = fault

    def close(self) -> None:
        """No more connections; `accept` ends."""
        self.cut()
        self.flow()
        shut(self._listener)
        self._listener.close()

    def accept(self) -> None:
        """Serve until closed."""
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                whole = self._whole
            if not whole:
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink, source is near), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        """One direction; its end is the other side's end too."""
        with suppress(OSError):
            while data := source.recv(65536):
                if self.delay_s:
                    time.sleep(self.delay_s)
                self._flowing.wait()
                fault = self._fault(data) if from_client else Fault.NONE
                if fault is Fault.LOSE:
                    break
                if fault is Fault.LOSE_ANSWER:
                    shut(source)
                sink.sendall(data)
                if fault is Fault.LOSE_ANSWER:
                    break
        shut(sink)
        shut(source)
        with self._lock:
            self._open.discard(source)
        source.close()


def shut(end: socket.socket) -> None:
    """Wake whoever reads from a socket; it may be closed already."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relayed(host: str, port: int) -> Iterator[Relay]:
    """A relay for the time of the block."""
    relay = Relay((host, port))
    thread = threading.Thread(target=relay.accept)
    thread.start()
    try:
        yield relay
    finally:
        relay.close()
        thread.join(timeout=10)
