"""What surrounds every request: its id, the limit on its body, one line in the access log."""

import logging
import re
import time
import uuid
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.errors import error_response
from gateway.errors import BodyTooLarge, GatewayError

REQUEST_ID: Final = "x-request-id"
REFUSED: Final = "refused"
"""Where the server leaves, in a request's state, the status with which it refused the rest of the body."""

LEFT: Final = 499
_GOOD_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id_of(given: str) -> str:
    """The client's id, if it is a sane one, else a new one."""
    return given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex


class RequestContext:
    """Pure ASGI middleware: gives each request an id (the client's, if it is a sane one), says it back, logs the end.

    Requests whose body is larger than `max_body_bytes` get 413, at once when the length is announced.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, logger: logging.Logger) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = request_id_of(headers.get(REQUEST_ID.encode(), b"").decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        begun = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        limited = _LimitedBody(receive, self._max_body_bytes)
        try:
            announced = headers.get(b"content-length", b"0")
            if announced.isdigit() and int(announced) > self._max_body_bytes:
                raise _TooLarge
            await self._app(scope, limited, send_with_id)
        except _TooLarge:
            error = BodyTooLarge(f"The request body is larger than {self._max_body_bytes} bytes.")
            await error_response(error, {"connection": "close"})(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # it left before its body was whole: nobody to answer, and no fault of ours
        except Exception:
            # The edge of a request's task: whatever broke, the client gets an answer with its request's id.
            self._logger.exception("request_failed", extra={"request_id": request_id})
            if status:
                raise  # the response has begun: only cutting it tells the client
            bug = GatewayError("The gateway failed; this is a bug of its own.")
            await error_response(bug)(scope, receive, send_with_id)
        finally:
            # A job has its own line, with what became of it; one line a request is enough.
            if "job" not in scope.get("state", {}):
                self._log(scope, request_id, status, time.perf_counter() - begun)

    def _log(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        self._logger.info(
            "request",
            extra={
                "request_id": request_id,
                "method": scope["method"],
                "path": scope["path"][:200],
                "status": status or scope.get("state", {}).get(REFUSED, LEFT),
                "ms": round(seconds * 1000, 1),
                "tenant": scope.get("state", {}).get("tenant"),
            },
        )


class _TooLarge(Exception):
    pass


class _LimitedBody:
    """`receive` that counts."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _TooLarge
        return message
