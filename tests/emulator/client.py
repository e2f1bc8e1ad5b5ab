"""How the emulator's tests speak to it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.servers import Engine

Json = dict[str, Any]

READ_S = 10.0

HI: list[Json] = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> Json:
    """The body of a chat request, greedy unless told otherwise."""
    return {"messages": HI, "temperature": 0, **fields}


@dataclass
class Events:
    """The data lines of a stream: chunks, and whether [DONE] came."""

    chunks: list[Json]
    done: bool

    def content(self, index: int = 0) -> list[str]:
        """The texts of a choice's token chunks, of either endpoint."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", []) if choice["index"] == index]
        deltas = [choice.get("delta", choice) for choice in choices if "role" not in choice.get("delta", {})]
        return [delta.get("content", delta.get("text")) for delta in deltas]

    def ids(self) -> list[int]:
        """All token ids of the first choice."""
        return [token for chunk in self.chunks for token in self.choice(chunk).get("token_ids") or []]

    def finish(self) -> str | None:
        """The last finish reason."""
        reasons = [self.choice(chunk).get("finish_reason") for chunk in self.chunks]
        return next((reason for reason in reversed(reasons) if reason), None)

    @staticmethod
    def choice(chunk: Json) -> Json:
        choices: list[Json] = chunk.get("choices") or [{}]
        return choices[0]


def events(body: str) -> Events:
    """Read an SSE body that consists of data lines only."""
    blocks = body.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    data = [block.removeprefix("data: ") for block in blocks]
    done = bool(data) and data[-1] == "[DONE]"
    return Events([json.loads(item) for item in (data[:-1] if done else data)], done)


async def stream(http: httpx2.AsyncClient, body: Json, path: str = "/v1/chat/completions", **headers: str) -> Events:
    """Ask for a stream and read it to its end."""
    answer = await http.post(path, json={**body, "stream": True}, headers=headers)
    assert answer.status_code == 200, answer.text
    return events(answer.text)


async def ask(http: httpx2.AsyncClient, body: Json, path: str = "/v1/chat/completions") -> Json:
    """Ask for a whole answer."""
    answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


class RawRequest:
    """A request on a socket of its own, which can be closed at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def send(cls, engine: Engine, body: Json, path: str = "/v1/chat/completions") -> "RawRequest":
        """Connect and send everything."""
        host, port = engine.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        raw = json.dumps(body).encode()
        writer.write(f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw)
        await writer.drain()
        return cls(reader, writer)

    async def read_until(self, mark: bytes) -> bytes:
        """What comes up to and with a mark."""
        async with asyncio.timeout(READ_S):
            return await self._reader.readuntil(mark)

    async def read_all(self) -> bytes:
        """What comes before the server closes."""
        async with asyncio.timeout(READ_S):
            return await self._reader.read()

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()
