"""`/v1/streams/{id}`: a resumable stream is read on, stopped, and told about its reader.

Leaving and stopping are different acts: who leaves may come back within the window, who stops ends the stream for all.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, status
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.auth import Caller
from gateway.api.errors import error_event
from gateway.api.fields import WHOLE, Strict
from gateway.api.generation import DONE, STREAM_HEADERS
from gateway.api.schemas import errors
from gateway.api.server import WIRE, Wire
from gateway.errors import GatewayError
from gateway.runtime.followers import Follower
from gateway.runtime.readers import Desk
from gateway.runtime.state import ReaderReport
from gateway.stores.base import ApiKey

OPT_IN: Final = "x-stream-resumable"
STREAM_ID: Final = "x-stream-id"
RESUME: Final = "x-stream-resume"
WINDOW: Final = "x-stream-window"
MAX_OFFSET: Final = 2**53
StreamId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="from the `x-stream-id` header")]
Offset = Annotated[int, Field(ge=0, le=MAX_OFFSET)]
Count = Annotated[int, Field(ge=0, le=MAX_OFFSET), WHOLE]
Milliseconds = Annotated[float, Field(ge=0, le=60_000)]


def opted_in(request: Request) -> bool:
    """Whether the client can take event ids and named events, and may come back."""
    return request.headers.get(OPT_IN, "").strip().lower() in ("1", "true")


def last_words(error: GatewayError | None) -> bytes:
    """The last event of a stream."""
    return DONE if error is None else error_event(error)


class FollowResponse(Response):
    """Follows a stream's log. Its headers go out at once, so that the reader knows where to come back to."""

    def __init__(self, desk: Desk, stream_id: str, owner: str, after: int, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._desk = desk
        self._extra = {**headers, STREAM_ID: stream_id, WINDOW: f"{desk.window_s:g}"}
        self._wire = _LateWire()
        self._follower: Follower = desk.follow(stream_id, owner, self._wire, after, last_words)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        wire: Wire = scope["extensions"][WIRE]
        self._wire.wire = wire
        follower = self._follower
        wire.listen(lost=follower.leave, resumed=follower.resume)
        try:
            if not wire.closed:
                extra = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._extra.items()]
                await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *extra]})
                follower.start()
                await follower.done
                if not wire.closed:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            wire.unlisten()
            follower.leave()


class _LateWire:
    """A response's socket, known only when the response is sent."""

    wire: Wire | None = None

    def write(self, data: bytes) -> bool:
        assert self.wire is not None  # a follower starts behind the headers
        return self.wire.write(data)


class ReaderBody(Strict):
    """What a reader shows and sees; every field is optional, and the last word counts."""

    shown: Annotated[Count, Field(description="code points of visible text")] | None = None
    buffered: Annotated[Count, Field(description="code points received and not shown")] | None = None
    visible: bool | None = None
    rate: Annotated[float, Field(ge=0, le=100_000, description="code points a second")] | None = None
    rtt_ms: Milliseconds | None = None
    jitter_ms: Milliseconds | None = None

    def report(self) -> ReaderReport:
        """The same in the runtime's units."""
        return ReaderReport(
            self.shown, self.buffered, self.visible, self.rate, _seconds(self.rtt_ms), _seconds(self.jitter_ms)
        )


def streams_router(desk: Desk, caller: Caller) -> APIRouter:
    """What can be done with a stream by its id, by the key that made it."""
    router = APIRouter(tags=["streams"], prefix="/v1/streams/{stream_id}")
    Key = Annotated[ApiKey, Depends(caller)]  # noqa: N806 - a type
    described: dict[str, Any] = {"openapi_extra": caller.described}
    whole: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}

    @router.get("", response_class=Response, responses=whole | errors(400, 401, 404, 410, 429, 503), **described)
    async def read_on(
        stream_id: StreamId,
        key: Key,
        starting_after: Annotated[Offset | None, Query(description="the number of the last event that came")] = None,
        last_event_id: Annotated[
            str, Header(pattern="^[0-9]{0,15}$", description="the same, as a browser says it")
        ] = "",
    ) -> Response:
        """Read a stream on from where the reader left it; nothing is lost and nothing comes twice."""
        after = starting_after if starting_after is not None else int(last_event_id or 0)
        await desk.fetch(stream_id, key.id, last_words)
        return FollowResponse(desk, stream_id, key.id, after, {})

    @router.delete("", status_code=status.HTTP_204_NO_CONTENT, responses=errors(400, 401, 404, 503), **described)
    async def stop(stream_id: StreamId, key: Key) -> None:
        """End a stream for all its readers."""
        await desk.fetch(stream_id, key.id, last_words)
        desk.stop(stream_id, key.id)

    @router.post(
        "/reader", status_code=status.HTTP_204_NO_CONTENT, responses=errors(400, 401, 404, 413, 503), **described
    )
    async def reader(stream_id: StreamId, key: Key, body: ReaderBody) -> None:
        """Tell what the reader sees; at most once a second is of use, and it is never required."""
        await desk.fetch(stream_id, key.id, last_words)
        desk.report(stream_id, key.id, body.report())

    return router


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
