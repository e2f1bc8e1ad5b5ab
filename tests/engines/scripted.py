"""An engine whose every byte the test decides, and a sink that remembers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.engines.base import Usage

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{"content":"z"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class Server:
    """Its address, its connections, and the requests that came."""

    url: str = ""
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    lost: int = 0

    async def request(self, reader: asyncio.StreamReader) -> bytes | None:
        """The next request's head; its body is read too. None at the end of the connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = (
                line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            length = int(next(lengths, b"0"))
            self.requests.append(head + await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost += 1
            return None
        return head


@asynccontextmanager
async def scripted(
    script: Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Server]:
    """A server that plays the script on every connection, and closes it then."""
    server = Server()
    writers: list[asyncio.StreamWriter] = []
    players: list[asyncio.Task[None]] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.append(writer)
        if (player := asyncio.current_task()) is not None:
            players.append(player)
        try:
            await script(server, reader, writer)
        finally:
            writer.close()

    listener = await asyncio.start_server(play, "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    server.url = f"http://{host}:{port}"
    yield server
    listener.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.gather(*players)
    await listener.wait_closed()


def answering(*responses: bytes, then_close: bool = False) -> Callable[..., Awaitable[None]]:
    """A script: one response after the other, then silence (or the end)."""

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for response in responses:
            if await server.request(reader) is None:
                return
            writer.write(response)
            await writer.drain()
        if not then_close:
            await server.request(reader)

    return script


def chunked(*parts: bytes, end: bool = True, kind: str = "text/event-stream") -> bytes:
    """A 200 response in chunks."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + (b"0\r\n\r\n" if end else b"")


def sized(body: bytes, status: int = 200, kind: str = "application/json", extra: str = "") -> bytes:
    """A response with a length."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


class Sink:
    """What a leg said; `over` is done at its end, which may come only once."""

    def __init__(self) -> None:
        self.data = b""
        self.tokens = 0
        self.usage: Usage | None = None
        self.answer: bytes | None = None
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def events(self, data: bytes, tokens: int) -> None:
        assert not self.over.done()
        self.data += data
        self.tokens += tokens

    def counted(self, usage: Usage) -> None:
        self.usage = usage

    def completed(self) -> None:
        self.over.set_result(None)

    def answered(self, body: bytes, usage: Usage | None) -> None:
        self.answer, self.usage = body, usage
        self.over.set_result(None)

    def failed(self, error: Exception) -> None:
        self.over.set_result(error)

    async def ended(self) -> Exception | None:
        return await asyncio.wait_for(asyncio.shield(self.over), 5.0)
