"""From an engine's chunks to what its client gets: counted, stripped of what only the gateway asked for, not rewritten.

This is the token path. Each event is decoded once into the few fields that matter here (msgspec skips the rest) and
passed on as the bytes that came. Removing a field is cutting bytes: inside a JSON string every quote is escaped, so
`,"token_ids":[` can only be a key, never text. A field that is written oddly is ignored, since the client has its
answer without it.
"""

import re
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from gateway.engines.base import Usage
from gateway.engines.sse import SseDecoder
from gateway.errors import EngineFailed

DONE: Final = b"[DONE]"
ABORTED: Final = "abort"
MAX_COUNT: Final = 2**53
_NO_INDEX: Final = object()
_TOKEN_IDS: Final = re.compile(rb',\s*"(?:prompt_)?token_ids":\s*(?:null|\[[\d,\s]*\])')


Odd: TypeAlias = str | float | bool | list[Any] | None


class Delta(msgspec.Struct, gc=False):
    """A chat's piece."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None

    def says(self) -> bool:
        """Whether anything of the answer is in it."""
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
        )


class Choice(msgspec.Struct, gc=False):
    """An answer's piece."""

    index: Any = 0
    delta: Delta | Odd = None
    text: Any = None
    token_ids: Any = None
    prompt_token_ids: Any = None
    finish_reason: Any = None

    def tokens(self) -> int:
        """How many tokens it has: by ids where the engine sends them, else one for each piece that says something."""
        if isinstance(self.token_ids, list):
            return len(self.token_ids)
        return 1 if self.text or (isinstance(self.delta, Delta) and self.delta.says()) else 0


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Any = None


class EngineUsage(msgspec.Struct, gc=False):
    """`usage` of the OpenAI API."""

    prompt_tokens: Any = 0
    completion_tokens: Any = 0
    prompt_tokens_details: _PromptDetails | Odd = None


def usable_usage(usage: EngineUsage | Odd) -> Usage | None:
    """None unless the prompt was counted. An answer that was not is 0, which nobody takes for a count."""
    if not isinstance(usage, EngineUsage):
        return None
    prompt = _count(usage.prompt_tokens)
    if prompt is None:
        return None
    details = usage.prompt_tokens_details
    cached = _count(details.cached_tokens) if isinstance(details, _PromptDetails) else None
    return Usage(prompt, _count(usage.completion_tokens) or 0, prompt, cached)


def _count(value: Any) -> int | None:
    """Also 7.0 is 7."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < MAX_COUNT and value == int(value) else None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream, as far as it is looked at."""

    choices: list[Choice] | None = None
    usage: EngineUsage | Odd = None
    error: Any = None
    prompt_token_ids: Any = None


class Renaming:
    """Puts the client's name of the model where the engine wrote its own."""

    def __init__(self, engine_model: str, model: str) -> None:
        self._pattern = re.compile(rb'"model":\s*' + re.escape(msgspec.json.encode(engine_model)))
        self._replacement = b'"model":' + msgspec.json.encode(model)

    def __call__(self, data: bytes) -> bytes:
        """The same JSON with the first such name replaced."""
        return self._pattern.sub(lambda _: self._replacement, data, count=1)


class Relay(Protocol):
    """What a leg makes of a stream's bytes.

    `tokens` of this leg so far, `usage` as the engine told it last, `done` once the end mark was seen, `finished` when
    every choice has its finish reason, `cut_short` when the answer is over though the engine goes on, `failure` when
    the engine sent an error or something that is not a chunk.
    """

    tokens: int
    usage: Usage | None
    done: bool
    cut_short: bool
    failure: EngineFailed | None

    @property
    def finished(self) -> bool: ...

    def feed(self, data: bytes) -> bytes:
        """What of these bytes goes on to the client."""

    def conclude(self) -> bytes | None:
        """The connection broke: what makes the answer whole, None where something of it is missing."""


class ChunkRelay:
    """One stream's decoder and counter."""

    def __init__(
        self,
        *,
        include_usage: bool = False,
        strip_token_ids: bool = False,
        rename: Renaming | None = None,
    ) -> None:
        self._sse = SseDecoder()
        self._decode = msgspec.json.Decoder(Chunk).decode
        self._index: Any = _NO_INDEX  # the last choice's: looking it up in a set for every token would cost more
        self._seen: set[Any] = set()
        self._ended: set[Any] = set()
        self._include_usage = include_usage
        self._strip_token_ids = strip_token_ids
        self._rename = rename
        self.tokens = 0
        self.usage: Usage | None = None
        self.done = False
        self.cut_short = False
        self.failure: EngineFailed | None = None

    @property
    def finished(self) -> bool:
        """Whether every choice that the engine began has got its finish reason; some engines ignore `n`."""
        return bool(self._seen) and self._seen == self._ended

    def feed(self, data: bytes) -> bytes:
        """What of these bytes goes on to the client; what came before a failure counts."""
        # Nearly every read is one event with one token: it is decoded once and passed on as the bytes that came.
        if not self._sse.tail and data.count(b"\n") == 2 and data[:6] == b"data: " and data[-2:] == b"\n\n":
            chunk = self._chunk(data[6:-2])
            choices = chunk.choices if chunk is not None and not chunk.error else None
            if chunk is not None and choices and len(choices) == 1 and not choices[0].finish_reason:
                if chunk.usage is not None:
                    self.usage = usable_usage(chunk.usage) or self.usage
                return self._one(chunk, choices[0], data)
        out: list[bytes] = []
        try:
            self._feed(data, out)
        except EngineFailed as error:
            self.failure = error
        return b"".join(out)

    def conclude(self) -> bytes | None:
        return None

    def _feed(self, data: bytes, out: list[bytes]) -> None:
        for payload in self._sse.feed(data):
            if payload == DONE:
                self.done = True
                break
            if b"\n" in payload:  # between the JSON's words: in a string it would be escaped
                payload = payload.replace(b"\n", b" ")
            chunk = self._chunk(payload)
            if chunk is None:
                raise EngineFailed("The engine sent something that is not a chunk.")
            if chunk.error or not (chunk.choices or chunk.usage):
                raise_if_error(payload)
            self.usage = usable_usage(chunk.usage) or self.usage
            if any(choice.finish_reason == ABORTED for choice in chunk.choices or ()):
                raise EngineFailed("The engine gave the answer up.")
            out.append(self._event(chunk, b"data: " + payload + b"\n\n"))

    def _one(self, chunk: Chunk, choice: Choice, event: bytes) -> bytes:  # noqa: ARG002 - for a subclass
        """The usual event: one choice that goes on."""
        self._count(choice)
        return self._clean(event) if self._strip_token_ids or self._rename else event

    def _event(self, chunk: Chunk, event: bytes) -> bytes:
        """Any event."""
        for choice in chunk.choices or ():
            self._count(choice)
        shown = chunk.choices or chunk.usage is None or self._include_usage
        return self._clean(event) if shown else b""

    def _count(self, choice: Choice) -> None:
        self.tokens += choice.tokens()
        self._mark(choice)

    def _mark(self, choice: Choice) -> None:
        """Remember which choices have begun and ended."""
        if choice.index == self._index and not choice.finish_reason:
            return
        self._index = choice.index
        index = choice.index if isinstance(choice.index, int | float | str) else 0
        self._seen.add(index)
        if choice.finish_reason:
            self._ended.add(index)

    def _chunk(self, payload: bytes) -> Chunk | None:
        try:
            return self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _clean(self, payload: bytes) -> bytes:
        if self._strip_token_ids:
            payload = _TOKEN_IDS.sub(b"", payload)
        return payload if self._rename is None else self._rename(payload)


class _Failure(msgspec.Struct):
    """The error shapes of engines: OpenAI's, and {"object": "error", "message": ...}."""

    error: Any = None
    object: Any = None
    message: Any = None


def raise_if_error(payload: bytes) -> None:
    """EngineFailed if it is an error: the engine's own words are for the log, clients get a message of ours."""
    failure = msgspec.json.decode(payload, type=_Failure)
    if not failure.error and failure.object != "error":
        return
    error = failure.error or failure.message
    if isinstance(error, dict):
        error = error.get("message", error)
    raise EngineFailed(f"The engine reported an error: {str(error)[:500]}")
