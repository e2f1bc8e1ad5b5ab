"""The process: a socket, uvicorn, and one line when it serves."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn

from gateway.emulator.app import Emulator, create_app


class _Server(uvicorn.Server):
    """Says when it is ready, which only it knows."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._ready, flush=True)


def serve(emulator: Emulator, host: str, port: int, log_level: str, shutdown_s: float) -> None:
    """Serve until SIGINT or SIGTERM; port 0 takes a free one. OSError when the address cannot be had.

    `shutdown_s`: how long answers under way may take after the signal.
    """
    with _listening(host, port) as listener:
        address = listener.getsockname()
        url = f"http://[{address[0]}]:{address[1]}" if ":" in address[0] else f"http://{address[0]}:{address[1]}"
        config = uvicorn.Config(
            create_app(emulator),
            log_level=log_level,
            access_log=False,
            server_header=False,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=int(shutdown_s),
        )
        with _quiet_end():
            _Server(config, f"ready {url} model {emulator.model_name}").run(sockets=[listener])


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        yield listener


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signal again once it has stopped: end with status 0 then, as before it served."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
