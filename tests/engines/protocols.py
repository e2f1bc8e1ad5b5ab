"""Small servers that speak other engines' protocols, as their documentation has them, over the emulator's language."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.emulator.answer import Answer, Limits
from gateway.emulator.chat import render
from gateway.emulator.text import Language, Sampler
from tests.engines.scripted import Server, chunked, scripted, sized

Json = dict[str, Any]
LANGUAGE = Language()
ENCODE = LANGUAGE.vocabulary.encode
DONE = b"data: [DONE]\n\n"


@dataclass
class Protocol:
    """What a server remembers: the bodies by path."""

    url: str = ""
    asked: list[tuple[str, Json]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


Route = Callable[[str, Json], bytes | list[bytes] | int]


@asynccontextmanager
async def serving(route: Route) -> AsyncIterator[Protocol]:
    """`route` answers a path and a body: bytes are a whole answer, a list is a stream of events, a number is
    the status of a refusal."""
    protocol = Protocol()

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await server.request(reader)) is not None:
            path = head.split()[1].decode()
            raw = server.requests[-1][len(head) :]
            body = json.loads(raw) if raw else {}
            protocol.asked.append((path, body))
            answer = route(path, body)
            if isinstance(answer, int):
                writer.write(sized(b'{"error": "no"}', answer))
                continue
            if isinstance(answer, bytes):
                kind = "text/plain" if path == "/metrics" else "application/json"
                writer.write(sized(answer, kind=kind))
                continue
            try:
                await _stream(writer, answer)
            except ConnectionError:
                return  # its reader has what it wanted

    async with scripted(script) as server:
        protocol.url = server.url
        yield protocol


async def _stream(writer: asyncio.StreamWriter, events: list[bytes]) -> None:
    """One event at a time, so that a reader can leave between two."""
    head, _, _ = chunked().partition(b"0\r\n\r\n")
    writer.write(head)
    for event in events:
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")


def event(payload: Json) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def pieces(ids: list[int], body: Json, limit: str = "max_tokens") -> list[tuple[int, str, str | None]]:
    """Token, text and finish reason of a greedy answer; it ends with its tokens."""
    history = list(ids)
    limits = Limits(max_tokens=body[limit], ignore_eos=True)
    answer = Answer(LANGUAGE.vocabulary, Sampler(LANGUAGE, history), limits, LANGUAGE.vocabulary.open_character(ids))
    found = []
    while True:
        piece = answer.next()
        history.append(piece.token)
        found.append((piece.token, piece.text, piece.finish))
        if piece.finish:
            return found


def openai_stream(ids: list[int], body: Json, *, chat: bool, show_ids: bool = False) -> list[bytes]:
    """An OpenAI-compatible stream with its usage."""
    head = {"id": f"x-{len(ids)}", "object": "chunk", "created": 1, "model": body["model"]}
    out = []
    for token, text, finish in pieces(ids, body):
        says: Json = {"delta": {"content": text}} if chat else {"text": text}
        shown = {"token_ids": [token]} if show_ids else {}
        out.append(event({**head, "choices": [{"index": 0, **says, "finish_reason": finish, **shown}]}))
    usage = {"prompt_tokens": len(ids), "completion_tokens": len(out), "total_tokens": len(ids) + len(out)}
    return [*out, event({**head, "choices": [], "usage": usage}), DONE]


def chat_ids(body: Json, *, prefill: bool) -> list[int]:
    """The rendered chat; `prefill`: a last message of the assistant is gone on with."""
    messages = body["messages"]
    begun = prefill and messages[-1]["role"] == "assistant"
    return render(LANGUAGE.vocabulary, messages, add_generation_prompt=not begun, continue_final_message=begun)
