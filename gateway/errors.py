"""Every error that the gateway raises on purpose, in one tree.

    GatewayError
    +-- ConfigError
    +-- InvalidRequest
    |   +-- ContextTooLong
    |   +-- KeyRevoked
    |   +-- EngineInUse
    +-- BodyTooLarge
    +-- Unauthenticated
    +-- Forbidden
    |   +-- ModelNotAllowed
    +-- NotFound
    |   +-- ModelNotFound
    |   +-- StreamNotFound
    |   +-- EngineNotFound
    +-- StreamGone
    +-- LimitExceeded
    |   +-- RateLimited
    |   +-- TooManyStreams
    |   +-- QueueShareFull
    |   +-- BurstRunning
    +-- Unavailable
    |   +-- QueueFull
    |   +-- NoEngineReady
    |   +-- Draining
    +-- QueueTimeout
    +-- EngineError
        +-- EngineRefused
        +-- EngineBusy
        +-- EngineFailed
            +-- EngineUnreachable

The classes say what happened; the one table from class to HTTP status is `gateway/api/errors.py`. `code` is the
machine-readable reason that clients see. Messages are written for the client: they name no key, engine or path.
"""

from typing import ClassVar


class GatewayError(Exception):
    """Base of the tree.

    `message` is shown to the client, `param` names the offending field, `retry_after_s` is the time in seconds after
    which the same request may succeed (None: the same request will not).
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(GatewayError):
    """The configuration cannot be used; the message names the key."""

    code = "invalid_config"


class InvalidRequest(GatewayError):
    """The request is malformed or asks for something impossible."""

    code = "invalid_request"


class ContextTooLong(InvalidRequest):
    """Prompt and answer together do not fit the model's context."""

    code = "context_length_exceeded"


class KeyRevoked(InvalidRequest):
    """A revoked key takes no more changes."""

    code = "key_revoked"


class EngineInUse(InvalidRequest):
    """An engine leaves only when it has been drained; a name is given once."""

    code = "engine_in_use"


class BodyTooLarge(GatewayError):
    """The request body is larger than the configured limit."""

    code = "request_too_large"


class Unauthenticated(GatewayError):
    """No key, an unknown key, a revoked key or an expired one: the client is not told which."""

    code = "invalid_api_key"


class Forbidden(GatewayError):
    """The key is good but may not do this."""

    code = "forbidden"


class ModelNotAllowed(Forbidden):
    """The key may not use this model."""

    code = "model_not_allowed"


class NotFound(GatewayError):
    """No such thing, or not for this key."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No pool serves this model."""

    code = "model_not_found"


class StreamNotFound(NotFound):
    """No such stream, or not for this key, or not any more."""

    code = "stream_not_found"


class EngineNotFound(NotFound):
    """No pool has an engine of this name."""

    code = "engine_not_found"


class StreamGone(GatewayError):
    """The part of the stream that was asked for is not kept any more."""

    code = "stream_gone"


class LimitExceeded(GatewayError):
    """The tenant is over one of its limits; others are not affected."""

    code = "limit_exceeded"


class RateLimited(LimitExceeded):
    """Requests or tokens a minute are used up."""

    code = "rate_limit_exceeded"


class TooManyStreams(LimitExceeded):
    """The key has as many concurrent streams as it may."""

    code = "concurrent_streams_exceeded"


class QueueShareFull(LimitExceeded):
    """The tenant's share of a pool's queue is full."""

    code = "queue_share_full"


class BurstRunning(LimitExceeded):
    """The demo sends one burst at a time."""

    code = "burst_running"


class Unavailable(GatewayError):
    """The gateway as a whole cannot take the request now."""

    code = "unavailable"


class QueueFull(Unavailable):
    """The whole queue of the pool is full."""

    code = "queue_full"


class NoEngineReady(Unavailable):
    """No engine of the pool is healthy."""

    code = "no_engine_ready"


class Draining(Unavailable):
    """The gateway is shutting down."""

    code = "draining"


class QueueTimeout(GatewayError):
    """The job waited in the queue for longer than the pool allows."""

    code = "queue_timeout"


class EngineError(GatewayError):
    """An engine did not do its work."""

    code = "engine_error"


class EngineRefused(EngineError):
    """The engine refused the request itself (a 4xx): no other engine would take it either.

    `status`, `message`, `param` and `error_type` are the engine's own answer, which the client gets.
    """

    code = "engine_refused"

    def __init__(self, message: str, *, status: int, param: str | None = None, error_type: str | None = None) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.error_type = error_type


class EngineBusy(EngineError):
    """The engine is full or starting (429, 503): another one, or this one later, may take the job."""

    code = "engine_busy"


class EngineFailed(EngineError):
    """The engine cannot be reached, broke the connection, answered garbage or fell silent."""

    code = "engine_failed"


class EngineUnreachable(EngineFailed):
    """No connection to the engine can be made: nothing else will reach it either until a probe does."""
