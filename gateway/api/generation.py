"""A generation's answer on the wire, from the first byte of the request to the last byte of the stream."""

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.errors import error_event, error_response
from gateway.api.server import WIRE, Wire
from gateway.errors import GatewayError
from gateway.runtime.dispatcher import Dispatcher
from gateway.runtime.stream import Stream

DONE: Final = b"data: [DONE]\n\n"
STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class GenerationResponse(Response):
    """Follows one stream.

    The client is watched from here on, whatever the job is doing: queued, in prefill, in decode, or a whole answer.
    Headers wait for the first token, so that a failure before it is a status; after `head_timeout_s` they go out
    anyway, and what fails then is an event with the same code.
    """

    def __init__(
        self, stream: Stream, dispatcher: Dispatcher, headers: Mapping[str, str], *, head_timeout_s: float
    ) -> None:
        super().__init__()
        self._stream = stream
        self._dispatcher = dispatcher
        self._extra = headers
        self._head_timeout_s = head_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wire: Wire = scope["extensions"][WIRE]
        stream = self._stream
        wire.listen(lost=lambda: self._dispatcher.cancel(stream), resumed=stream.resume)
        try:
            if not wire.closed:
                await self._answer(wire, scope, receive, send)
        finally:
            wire.unlisten()
            self._dispatcher.cancel(stream)

    async def _answer(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        if not stream.request.leg.stream:
            error = await stream.end
            if not wire.closed:
                await self._whole(error)(scope, receive, send)
            return
        release = asyncio.get_running_loop().call_later(self._head_timeout_s, stream.release_head)
        await stream.head
        release.cancel()
        if wire.closed:
            return
        if stream.end.done() and stream.first_token_at is None and (error := stream.end.result()) is not None:
            await error_response(error, self._extra)(scope, receive, send)
            return
        await self._follow(wire, send)

    async def _follow(self, wire: Wire, send: Send) -> None:
        extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._all_headers().items()]
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *extra]})
        self._stream.follow(wire)
        error = await self._stream.end
        if self._stream.abandoned:
            wire.abort()
        if wire.closed:
            return
        last = DONE if error is None else error_event(error)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    def _whole(self, error: GatewayError | None) -> Response:
        if error is not None:
            return error_response(error, self._extra)
        return Response(self._stream.answer or b"", media_type="application/json", headers=self._all_headers())

    def _all_headers(self) -> dict[str, str]:
        started = self._stream.started_at
        if started is None:
            return dict(self._extra)
        return {**self._extra, "x-queue-ms": str(round((started - self._stream.arrived) * 1000))}
