"""From the error tree to HTTP: one table, OpenAI's error object, one SSE form.

Source of the shape: OpenAI API reference, "Error codes"; `retry-after` is RFC 9110 section 10.2.3, `retry-after-ms` and
`x-should-retry` are what OpenAI's SDKs obey.
"""

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from gateway import errors
from gateway.api.validation import refusal

# class: (status, OpenAI's type); the nearest base class in the table counts.
STATUS: Final[Mapping[type[errors.GatewayError], tuple[int, str]]] = MappingProxyType(
    {
        errors.GatewayError: (500, "server_error"),
        errors.InvalidRequest: (400, "invalid_request_error"),
        errors.EngineInUse: (409, "invalid_request_error"),
        errors.KeyRevoked: (409, "invalid_request_error"),
        errors.Unauthenticated: (401, "authentication_error"),
        errors.Forbidden: (403, "permission_error"),
        errors.NotFound: (404, "invalid_request_error"),
        errors.StreamGone: (410, "invalid_request_error"),
        errors.BodyTooLarge: (413, "invalid_request_error"),
        errors.LimitExceeded: (429, "rate_limit_error"),
        errors.Unavailable: (503, "overloaded_error"),
        errors.QueueTimeout: (504, "overloaded_error"),
        errors.EngineError: (502, "upstream_error"),
        errors.EngineRefused: (400, "invalid_request_error"),
        errors.EngineBusy: (503, "overloaded_error"),
    }
)
# What an engine said in its own words is for the log; clients get these.
OWN_WORDS: Final[Mapping[type[errors.GatewayError], str]] = MappingProxyType(
    {
        errors.EngineFailed: "The engine failed while working on the request.",
        errors.EngineUnreachable: "The engine failed while working on the request.",
        errors.EngineBusy: "All engines for this model are busy.",
        errors.EngineError: "The engine failed while working on the request.",
    }
)


def status_of(error: errors.GatewayError) -> int:
    """The HTTP status of an error."""
    return _row(error)[0]


def error_object(error: errors.GatewayError) -> dict[str, Any]:
    """OpenAI's error object for an error of the tree."""
    kind = _row(error)[1]
    if isinstance(error, errors.EngineRefused) and error.error_type:
        kind = error.error_type
    message = OWN_WORDS.get(type(error), error.message)
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def error_headers(error: errors.GatewayError) -> dict[str, str]:
    """When to come back, for clients that obey."""
    headers: dict[str, str] = {}
    # A broken engine is found out within a second, and then the request goes elsewhere.
    retry_after_s = 1.0 if isinstance(error, errors.EngineFailed) else error.retry_after_s
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        headers["retry-after-ms"] = str(max(1, math.ceil(retry_after_s * 1000)))
    elif isinstance(error, errors.LimitExceeded):
        headers["x-should-retry"] = "false"
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return headers


def error_response(error: errors.GatewayError, headers: Mapping[str, str] | None = None) -> Response:
    """The whole answer."""
    return _response(error_object(error), status_of(error), {**(headers or {}), **error_headers(error)})


def error_event(error: errors.GatewayError) -> bytes:
    """The same inside a stream: one event, after which the stream ends without [DONE]."""
    return b"data: " + json.dumps(error_object(error)).encode() + b"\n\n"


def install(app: FastAPI) -> None:
    """Answer every failure of the app with OpenAI's error object."""
    app.add_exception_handler(errors.GatewayError, _on_gateway_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)


def _row(error: errors.GatewayError) -> tuple[int, str]:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


async def _on_gateway_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.GatewayError)  # registered for it
    return error_response(error)


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # registered for it
    return error_response(refusal(error.errors(), error.body))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for it
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"Unknown request URL: {request.method} {request.url.path[:200]}."
        return _response(_plain(message, "unknown_url"), error.status_code)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"Not allowed here: {request.method}."
        return _response(_plain(message, "method_not_allowed"), error.status_code, {"allow": _methods(request)})
    return _response(_plain(str(error.detail), "invalid_request"), error.status_code, error.headers)


async def _on_bug(request: Request, _error: Exception) -> Response:
    # Starlette answers outside of every middleware, and the server closes the connection: both must be said here.
    request_id = request.scope.get("state", {}).get("request_id")
    headers = {"connection": "close"} | ({"x-request-id": request_id} if request_id else {})
    return error_response(errors.GatewayError("The gateway failed; this is a bug of its own."), headers)


def _methods(request: Request) -> str:
    """What all routes of this path take together; Starlette names the first route's methods only."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found.update(route.methods or ())
    return ", ".join(sorted(found))


def _response(body: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    # ASCII, because a message may quote half a surrogate pair, which no other encoding can express.
    return Response(json.dumps(body), status, headers, "application/json")


def _plain(message: str, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
