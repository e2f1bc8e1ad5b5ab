"""A real redis-server on a port of its own: started, killed, paused, started again with its data or without."""

import asyncio
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from gateway.stores.redis_link import LinkSettings, Listener, RedisLink
from tests.support import programs
from tests.support.ports import unused_port
from tests.support.processes import Process


class RedisServer:
    """It keeps an append-only file in `folder`, synced once a second, as the compose file has it."""

    def __init__(self, folder: Path) -> None:
        self.port = unused_port()
        self._program = programs.require("redis-server")
        self._folder = folder
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, empty: bool = False) -> None:
        """Start it, again or for the first time."""
        if empty:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = ("--dir", str(self._folder), "--appendonly", "yes", "--save", "")
        self._process = Process([self._program, "--port", str(self.port), "--bind", "127.0.0.1", *kept])
        deadline = time.monotonic() + 20.0
        while not self._answers():  # not `wait_until`: tests with an event loop call this too
            assert time.monotonic() < deadline, self._process.output()
            time.sleep(0.01)

    def _answers(self) -> bool:
        with suppress(OSError):
            return self._say(b"PING\r\n").startswith(b"+PONG")
        return False

    def _say(self, command: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 1.0) as talking:
            talking.sendall(command)
            return talking.recv(64)

    def flush(self) -> None:
        """Everything in it is gone."""
        self._say(b"FLUSHALL\r\n")

    def count(self, pattern: str) -> int:
        """How many keys there are whose names match."""
        answer = self._say(f"EVAL \"return #redis.call('KEYS', '{pattern}')\" 0\r\n".encode())
        return int(answer[1:])

    def last_number(self, pattern: str) -> int:
        """The first part of the last id in the stream whose name matches; 0 where there is none."""
        script = (
            f"local k = redis.call('KEYS', '{pattern}')[1] if not k then return 0 end "
            "local last = redis.call('XREVRANGE', k, '+', '-', 'COUNT', 1)[1] "
            "return last and tonumber(string.match(last[1], '^%d+')) or 0"
        )
        return int(self._say(f'EVAL "{script}" 0\r\n'.encode())[1:])

    def commands(self) -> int:
        """How many commands it has done, those inside scripts too."""
        with socket.create_connection(("127.0.0.1", self.port), 1.0) as talking:
            talking.sendall(b"INFO stats\r\nQUIT\r\n")
            text = talking.makefile().read()
        return int(text.partition("total_commands_processed:")[2].split()[0])

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()

    def pause(self) -> None:
        """It answers nothing until it is resumed, and its connections stay."""
        assert self._process is not None
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.signal(signal.SIGCONT)


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A server for the time of the block."""
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()


@asynccontextmanager
async def linked(url: str, *, timeout_s: float = 1.0, listener: Listener | None = None) -> AsyncIterator[RedisLink]:
    """A link that is there, for the time of the block."""
    link = RedisLink(LinkSettings(url, timeout_s=timeout_s))
    if listener is not None:
        link.listen(listener)
    async with kept(link):
        yield link


@asynccontextmanager
async def kept(link: RedisLink) -> AsyncIterator[None]:
    """Keep a link that was set up by the caller, for the time of the block."""
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(10.0):
            await link.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
