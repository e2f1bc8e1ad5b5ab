"""The port to engines: what the runtime asks of a model server, whatever its make.

A leg's output is pushed: the adapter calls the sink from the socket's own read callback, so that no task wakes up and
no queue is filled per token. The sink must not block and must not raise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from gateway.engines.transcript import Transcript

REASONING_END: Final = "</think>"


class Endpoint(StrEnum):
    """Which of the two generation calls; the value is the path on gateway and engine alike."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"


class ResumeLevel(StrEnum):
    """How exactly a stream can go on after a cut, the best first."""

    REPLAY = "replay"  # token for token what an unbroken run gives, up to the engine's numerics
    TOKEN = "token"  # noqa: S105 - no secret; the same token ids as prefix, a valid draw from there
    TEXT = "text"  # the same text as prefix, made into tokens again
    NO = "no"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return tuple(ResumeLevel).index(self)


@dataclass(frozen=True, slots=True)
class Resumability:
    """A level and, where it is not the best one, why."""

    level: ResumeLevel
    why: str = ""

    def __bool__(self) -> bool:
        return self.level is not ResumeLevel.NO


@dataclass(frozen=True, slots=True)
class LegRequest:
    """One run at one engine.

    `body` is the client's JSON object without the gateway's own fields; the adapter adds what it needs. `id` is new for
    every leg. `include_usage` and `include_token_ids` say what the client itself asked to see. `transcript` is where
    the adapter keeps what the stream says, and goes on from if something is there; None: nothing is kept. `priority` is
    the scheduler's rank, low first, for engines that schedule by such a number themselves.
    """

    id: str
    endpoint: Endpoint
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool = False
    include_token_ids: bool = False
    transcript: Transcript | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """The engine's own count (tokens); after a cut that of the whole stream: its own prompt, all of its answer.

    `resent_tokens`, `cached_tokens`: the length of the prompt that this leg was given, and how much of it the engine
    did not compute again (None where it does not tell).
    """

    prompt_tokens: int
    completion_tokens: int
    resent_tokens: int = field(default=0, compare=False)
    cached_tokens: int | None = field(default=None, compare=False)


class LegSink(Protocol):
    """Where a leg's output goes. Exactly one of `answered`, `completed` and `failed` ends it."""

    def events(self, data: bytes, tokens: int) -> None:
        """A streamed answer went on: whole SSE events as they go to the client (b"": nothing for it), and how many
        tokens the engine has produced with them."""

    def counted(self, usage: Usage) -> None:
        """The engine told its own count."""

    def completed(self) -> None:
        """A streamed answer ended as it should: a finish reason was seen, then the engine's end mark."""

    def answered(self, body: bytes, usage: Usage | None) -> None:
        """A whole answer is here: the engine's JSON object, unchanged."""

    def failed(self, error: Exception) -> None:
        """The leg broke: EngineRefused, EngineBusy or EngineFailed."""


class Leg(Protocol):
    """A running leg."""

    def pause_reading(self) -> None:
        """Leave what comes in the kernel's buffers."""

    def resume_reading(self) -> None:
        """Take what has come, in one gulp, and read on."""

    def abort(self) -> None:
        """Stop the generation now; the sink hears nothing more."""


class EngineState(StrEnum):
    """Health as the probe sees it."""

    UNKNOWN = "unknown"
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What a probe learned; None where the engine does not tell.

    `running` and `waiting` are the engine's own requests, `kv_tokens` its KV memory in tokens, `context_tokens` the
    longest prompt plus answer.
    """

    models: tuple[str, ...] = ()
    context_tokens: int | None = None
    kv_tokens: int | None = None
    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to reach one engine and what to assume of it; None: ask the engine. `priority`: it schedules by the rank that
    the gateway hands it. `reasoning_end`: the mark in its model's text at which reasoning ends."""

    id: str
    url: str
    kind: str
    model: str
    served_model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_running: int = 128
    kv_tokens: int | None = None
    connect_timeout_s: float = 2.0
    priority: bool = False
    reasoning_end: str = REASONING_END


class Engine(Protocol):
    """One model server."""

    @property
    def settings(self) -> EngineSettings: ...

    def can_resume(self, request: LegRequest) -> Resumability:
        """How exactly this engine continues such a request, or, where its transcript has begun, this very one."""

    async def start(self, request: LegRequest, sink: LegSink) -> Leg:
        """Send the request, or go on from its transcript; output goes to the sink.

        EngineUnreachable when the engine cannot be reached; another EngineError when it answers, but this leg cannot
        be begun there.
        """

    async def probe(self) -> EngineFacts:
        """Ask for health and facts. EngineFailed when it is not well."""

    async def tokenize(self, endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
        """The prompt's exact length in tokens, None when this kind of engine cannot tell."""

    async def close(self) -> None:
        """Give back connections; running legs are aborted."""
