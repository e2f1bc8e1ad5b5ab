"""The routes, in vLLM's shape. Plain Starlette; the two generating endpoints speak ASGI themselves, for the speed."""

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.emulator.asked import Asked, asked_chat, asked_completion, conversation_ids
from gateway.emulator.delivery import FAULT_TEXT, Delivery
from gateway.emulator.faults import FaultBook, Faults
from gateway.emulator.metrics import exposition
from gateway.emulator.outbox import End
from gateway.emulator.protocol import ChatBody, CompletionBody, DetokenizeBody, Refused, TokenizeBody, parse
from gateway.emulator.runner import Runner
from gateway.emulator.text import Language
from gateway.emulator.wire import Reply

VERSION = "0.1.0+emulated"
EXIT_STATUS = 70
FLUSH_S = 0.02
"""What the event loop gets to write out the last bytes before the process exits on demand."""


@dataclass(frozen=True, slots=True)
class Emulator:
    """All that the routes need; one for each process."""

    model_name: str
    language: Language
    runner: Runner
    book: FaultBook
    random: Random

    @property
    def max_model_len(self) -> int:
        return self.runner.model.profile.max_model_len

    def check_model(self, name: str | None) -> None:
        """Refused (404) for another model's name."""
        if name is not None and name != self.model_name:
            raise Refused(404, f"The model `{name}` does not exist.", "NotFoundError", "model")


def create_app(emulator: Emulator) -> Starlette:
    """The server; its lifespan runs the model."""
    pages = _Pages(emulator)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(emulator.runner.run())
        task.add_done_callback(_end_if_failed)
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    routes = [
        Route("/health", pages.health),
        Route("/ping", pages.health),
        Route("/version", pages.version),
        Route("/v1/models", pages.models),
        Route("/metrics", pages.metrics),
        Route("/tokenize", pages.tokenize, methods=["POST"]),
        Route("/detokenize", pages.detokenize, methods=["POST"]),
        Route("/emulator/faults", pages.faults, methods=["GET", "POST", "DELETE"]),
        Route("/v1/chat/completions", _Generate(emulator, chat=True), methods=["POST"]),
        Route("/v1/completions", _Generate(emulator, chat=False), methods=["POST"]),
    ]
    handlers = {Refused: _refused, HTTPException: _http_error}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


def _end_if_failed(runner: asyncio.Task[None]) -> None:
    """A server whose model has stopped would only hang; the lifespan's end then raises what happened."""
    if not runner.cancelled():
        signal.raise_signal(signal.SIGTERM)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.body, error.status)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = "NotFoundError" if error.status_code == 404 else "BadRequestError"
    return JSONResponse(Refused(error.status_code, str(error.detail), kind).body, error.status_code)


class _Pages:
    """The endpoints that answer at once."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._since = int(time.time())

    async def health(self, _: Request) -> Response:
        return Response(status_code=self._emulator.book.faults.health_status or 200)

    async def version(self, _: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def models(self, _: Request) -> Response:
        name = self._emulator.model_name
        card = {"id": name, "object": "model", "created": self._since, "owned_by": "andante", "root": name}
        card |= {"parent": None, "max_model_len": self._emulator.max_model_len}
        return JSONResponse({"object": "list", "data": [card]})

    async def metrics(self, _: Request) -> Response:
        text = exposition(self._emulator.runner, self._emulator.model_name)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def tokenize(self, request: Request) -> Response:
        body = parse(TokenizeBody, await request.body())
        language = self._emulator.language
        if body.messages is not None:
            ids = conversation_ids(body, language)
        elif body.prompt is not None:
            ids = language.vocabulary.encode(body.prompt)
        else:
            raise Refused(400, "prompt: Field required", param="prompt")
        return JSONResponse({"count": len(ids), "max_model_len": self._emulator.max_model_len, "tokens": ids})

    async def detokenize(self, request: Request) -> Response:
        tokens = parse(DetokenizeBody, await request.body()).tokens
        vocabulary = self._emulator.language.vocabulary
        if tokens and max(tokens) >= len(vocabulary):
            raise Refused(400, f"Token id {max(tokens)} is out of vocabulary", param="tokens")
        return JSONResponse({"prompt": vocabulary.decode(tokens)})

    async def faults(self, request: Request) -> Response:
        book = self._emulator.book
        if request.method == "POST":
            book.set(parse(Faults, await request.body()))
        elif request.method == "DELETE":
            book.set(None)
        return JSONResponse(book.faults.model_dump() | {"count_left": book.left})


class _Generate:
    """`POST /v1/chat/completions` and `POST /v1/completions`."""

    def __init__(self, emulator: Emulator, *, chat: bool) -> None:
        self._emulator = emulator
        self._chat = chat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            delivery = self._start(await request.body(), request.headers.get("x-request-id"))
        except ClientDisconnect:
            return
        watcher = asyncio.create_task(_watch(receive, delivery))
        try:
            if delivery.asked.stream:
                await _write_stream(send, delivery)
            else:
                await _write_whole(scope, receive, send, delivery)
        finally:
            watcher.cancel()
            delivery.abort()

    def _start(self, raw: bytes, request_id: str | None) -> Delivery:
        emulator = self._emulator
        asked, faults = self._read(raw)
        if faults.status is not None:
            raise Refused(faults.status, "The emulator was told to refuse this.", "InternalServerError")
        prefix = "chatcmpl-" if self._chat else "cmpl-"
        name = prefix + (request_id or uuid.uuid4().hex)
        reply = Reply(name, self._chat, int(time.time()), emulator.model_name)
        return Delivery(emulator.runner, emulator.language, asked, reply, faults)

    def _read(self, raw: bytes) -> tuple[Asked, Faults]:
        emulator = self._emulator
        language, longest, random = emulator.language, emulator.max_model_len, emulator.random
        if self._chat:
            chat = parse(ChatBody, raw)
            emulator.check_model(chat.model)
            return asked_chat(chat, language, longest, random), emulator.book.draw(chat.emulator_faults)
        completion = parse(CompletionBody, raw)
        emulator.check_model(completion.model)
        return asked_completion(completion, language, longest, random), emulator.book.draw(completion.emulator_faults)


async def _watch(receive: Receive, delivery: Delivery) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    delivery.reader_left()


async def _write_stream(send: Send, delivery: Delivery) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    end = None
    while end is None:
        data, end = await delivery.outbox.take()
        delivery.over = end is not None
        await send({"type": "http.response.body", "body": data, "more_body": end is not End.DONE})
    await _exit_if(end)


async def _write_whole(scope: Scope, receive: Receive, send: Send, delivery: Delivery) -> None:
    parts = []
    end = None
    while end is None:
        data, end = await delivery.outbox.take()
        parts.append(data)
    delivery.over = True
    if end is End.DONE and delivery.failed:
        error = Refused(500, FAULT_TEXT, "InternalServerError")
        await JSONResponse(error.body, error.status)(scope, receive, send)
    elif end is End.DONE:
        await Response(b"".join(parts), media_type="application/json")(scope, receive, send)
    else:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id":', "more_body": True})
    await _exit_if(end)


async def _exit_if(end: End) -> None:
    """A response that was cut returns unfinished: uvicorn then closes the connection without the last chunk."""
    if end is End.EXIT:
        await asyncio.sleep(FLUSH_S)
        os._exit(EXIT_STATUS)
