"""HTTP on a bare socket: for clients that leave, close one half, stop reading, or look at every byte."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.servers import MODEL, Gateway, Server

CHAT = "/v1/chat/completions"
Json = dict[str, Any]


class Cut(Exception):
    """The connection ended in the middle of a response."""


@dataclass
class Sse:
    """A whole SSE body: the JSON of its data lines, whether [DONE] came last, how many comments there were."""

    data: list[Json] = field(default_factory=list)
    done: bool = False
    comments: int = 0

    @classmethod
    def read(cls, body: bytes) -> "Sse":
        """AssertionError where a line is not what the gateway may send."""
        read = cls()
        assert body.endswith(b"\n\n"), body[-200:]
        for line in body.decode().split("\n"):
            if line.startswith(":"):
                read.comments += 1
            elif line:
                assert line.startswith("data: "), line
                assert not read.done, "something follows [DONE]"
                if line == "data: [DONE]":
                    read.done = True
                else:
                    read.data.append(json.loads(line[6:]))
        return read

    @property
    def choices(self) -> list[Json]:
        return [choice for chunk in self.data for choice in chunk.get("choices", ())]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)

    @property
    def ids(self) -> list[int]:
        return [token for choice in self.choices for token in choice.get("token_ids") or ()]

    @property
    def error(self) -> Json | None:
        """The error, which must be the last event."""
        errors = [event["error"] for event in self.data if "error" in event]
        assert not errors or (len(errors) == 1 and "error" in self.data[-1])
        return errors[0] if errors else None

    @property
    def usage(self) -> Json | None:
        return self.data[-1].get("usage") if self.data else None


class Raw:
    """One request on a connection of its own; `body` and `sse` close it when they have read everything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def send(
        cls, server: Server, body: Json, headers: Mapping[str, str], path: str = CHAT, *, receive_bytes: int = 0
    ) -> "Raw":
        """Connect and send everything; `receive_bytes` makes the socket's receive buffer small."""
        address = httpx2.URL(server.url)
        connection = socket.socket()
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address.host, address.port))
        reader, writer = await asyncio.open_connection(sock=connection)
        raw = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"host: {address.host}", f"content-length: {len(raw)}"]
        lines += ["content-type: application/json", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + raw)
        await writer.drain()
        return cls(reader, writer)

    async def head(self) -> int:
        """Read the status line and the headers; the status."""
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return self.status

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of the body up to the one that ends it; Cut when the connection ends before."""
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readexactly(2) == b"\r\n"
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut from error

    async def body(self) -> bytes:
        """All of the rest."""
        if not self.status:
            await self.head()
        if "content-length" in self.headers:
            body = await self.reader.readexactly(int(self.headers["content-length"]))
        else:
            body = b"".join([chunk async for chunk in self.chunks()])
        await self.leave()
        return body

    async def sse(self) -> Sse:
        """All of a stream."""
        return Sse.read(await self.body())

    async def until(self, count: int, mark: bytes = b'"delta":{"content"') -> bytes:
        """Read on until the body holds so many marks (of token events, if nothing else is said)."""
        if not self.status:
            await self.head()
        seen = b""
        async for chunk in self.chunks():
            seen += chunk
            if seen.count(mark) >= count:
                return seen
        raise AssertionError(f"only {seen.count(mark)} of {count} in {seen[-500:]!r}")

    async def half_close(self) -> None:
        """Say that nothing more will be sent, and go on listening."""
        await self.writer.drain()
        self.writer.write_eof()

    async def json(self) -> Json:
        """A whole answer."""
        answer: Json = json.loads(await self.body())
        return answer

    def vanish(self) -> None:
        """Reset the connection, whatever is under way."""
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Close the connection."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


class Clients:
    """Sends requests to gateways and sees to it that all of them are closed."""

    def __init__(self) -> None:
        self._opened: list[Raw] = []

    async def __call__(self, gateway: Gateway, body: Json, path: str = CHAT, *, receive_bytes: int = 0) -> Raw:
        """Ask a gateway, for its model if the body names none."""
        sent = await Raw.send(gateway, {"model": MODEL, **body}, gateway.headers, path, receive_bytes=receive_bytes)
        self._opened.append(sent)
        return sent

    async def close(self) -> None:
        for each in self._opened:
            each.vanish()
            await each.leave()


class Gauges:
    """Metrics of a server without standing in the way of an event loop."""

    def __init__(self, server: Server) -> None:
        self._http = httpx2.AsyncClient(base_url=server.url, timeout=10.0, trust_env=False, verify=False)

    async def value(self, name: str) -> float:
        """The sum of all series of a sample."""
        text = (await self._http.get("/metrics")).text
        return sum(float(found) for found in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    async def close(self) -> None:
        await self._http.aclose()
