"""A server whose every answer a test writes itself, inside the test's own event loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Handler = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]
"""Answers one request: (its JSON, with "_path", "_key" and "_last" of its head; where to write)."""

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"


def chunk(text: str, ids: int | None = None, **more: Any) -> bytes:
    """One event of a chat stream; with `ids` it says how many tokens it is."""
    choice: dict[str, Any] = {"index": 0, "delta": {"content": text}}
    if ids is not None:
        choice["token_ids"] = list(range(ids))
    return event({"choices": [choice], **more})


def event(fields: dict[str, Any]) -> bytes:
    return framed(f"data: {json.dumps(fields)}\n\n".encode())


def usage(prompt: int, output: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": output}})


def framed(data: bytes) -> bytes:
    """As an HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


END = framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def refusal(status: int, code: str) -> bytes:
    body = json.dumps({"error": {"message": "no", "type": "t", "code": code}}).encode()
    return (
        b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body
    )


async def whole(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    """Everything at once: a prompt token for each word, an output token for each asked."""
    text = asked["messages"][0]["content"] if "messages" in asked else asked["prompt"]
    words = [chunk("word ", ids=1)] * asked["max_tokens"]
    writer.write(SSE_HEAD + b"\r\n" + b"".join(words) + usage(len(text.split()) + 5, asked["max_tokens"]) + END)


@asynccontextmanager
async def serving(handler: Handler, left: asyncio.Event | None = None) -> AsyncIterator[str]:
    """The URL of a server that answers with `handler` until the end of the block; `left`: a client closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                asked = json.loads(await reader.readexactly(int(headers["content-length"])) or b"{}")
                asked |= {"_path": head.split()[1], "_key": headers.get("authorization", "").removeprefix("bearer ")}
                asked |= {"_last": int(headers.get("last-event-id", 0)), "_resumable": "x-stream-resumable" in headers}
                await handler(asked, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            if left is not None:
                left.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
