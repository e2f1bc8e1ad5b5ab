"""From an engine's chunks to what its client gets: counted, stripped of what only the gateway asked for, not rewritten.

This is the token path. Each event is decoded once into the few fields that matter here (msgspec skips the rest) and
passed on as the bytes that came. Removing a field is cutting bytes: inside a JSON string every quote is escaped, so
`,"token_ids":[` can only be a key, never text.
"""

import re
from typing import Any, Final

import msgspec

from gateway.engines.base import Usage
from gateway.engines.sse import SseDecoder
from gateway.errors import EngineFailed

DONE: Final = b"[DONE]"
_TOKEN_IDS: Final = re.compile(rb',\s*"(?:prompt_)?token_ids":\s*(?:null|\[[\d,\s]*\])')


class _Delta(msgspec.Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None

    def says(self) -> bool:
        return bool(
            self.content
            or self.reasoning_content
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.function_call
        )


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None

    def tokens(self) -> int:
        if self.token_ids is not None:
            return len(self.token_ids)
        return 1 if self.text or (self.delta is not None and self.delta.says()) else 0


class EngineUsage(msgspec.Struct, gc=False):
    """`usage` of the OpenAI API."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0

    def plain(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens or 0)


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: EngineUsage | None = None
    error: Any = None


class Renaming:
    """Puts the client's name of the model where the engine wrote its own."""

    def __init__(self, engine_model: str, model: str) -> None:
        self._pattern = re.compile(rb'"model":\s*' + re.escape(msgspec.json.encode(engine_model)))
        self._replacement = b'"model":' + msgspec.json.encode(model)

    def __call__(self, data: bytes) -> bytes:
        """The same JSON with the first such name replaced."""
        return self._pattern.sub(lambda _: self._replacement, data, count=1)


class ChunkRelay:
    """One stream's decoder and counter.

    `choices` is how many answers the client asked for (n x prompts).
    """

    def __init__(
        self,
        *,
        choices: int = 1,
        include_usage: bool = False,
        strip_token_ids: bool = False,
        rename: Renaming | None = None,
    ) -> None:
        self._sse = SseDecoder()
        self._decode = msgspec.json.Decoder(_Chunk).decode
        self._unfinished = choices
        self._include_usage = include_usage
        self._strip_token_ids = strip_token_ids
        self._rename = rename
        self.tokens = 0
        self.usage: Usage | None = None
        self.done = False
        self.failure: EngineFailed | None = None

    @property
    def finished(self) -> bool:
        """Whether every choice has got its finish reason."""
        return self._unfinished <= 0

    def feed(self, data: bytes) -> bytes:
        """What of these bytes goes on to the client; `tokens`, `usage` and `done` tell what they held.

        `failure` is set when the engine sends an error, or something that is not a chunk; what came before it counts.
        """
        # Nearly every read is one event with one token: it is decoded once and passed on as the bytes that came.
        if not self._sse.tail and data.count(b"\n") == 2 and data[:6] == b"data: " and data[-2:] == b"\n\n":
            chunk = self._chunk(data[6:-2])
            if chunk is not None and len(chunk.choices) == 1 and chunk.choices[0].finish_reason is None:
                self.tokens += self._count(chunk)
                return self._clean(data) if self._strip_token_ids or self._rename else data
        out: list[bytes] = []
        try:
            self._feed(data, out)
        except EngineFailed as error:
            self.failure = error
        return b"".join(out)

    def _feed(self, data: bytes, out: list[bytes]) -> None:
        for payload in self._sse.feed(data):
            if payload == DONE:
                self.done = True
                break
            chunk = self._chunk(payload)
            if chunk is None:
                raise EngineFailed("The engine sent something that is not a chunk.")
            if chunk.error is not None or not (chunk.choices or chunk.usage):
                _raise_if_error(payload)
            self.tokens += self._count(chunk)
            self._unfinished -= sum(1 for choice in chunk.choices if choice.finish_reason is not None)
            if chunk.choices or chunk.usage is None or self._include_usage:
                out.append(b"data: " + self._clean(payload) + b"\n\n")

    def _count(self, chunk: _Chunk) -> int:
        if chunk.usage is not None:
            self.usage = chunk.usage.plain()
        tokens = 0
        for choice in chunk.choices:
            tokens += choice.tokens()
        return tokens

    def _chunk(self, payload: bytes) -> _Chunk | None:
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


def _raise_if_error(payload: bytes) -> None:
    """The engine's own words are for the log; clients get a message of ours."""
    failure = msgspec.json.decode(payload, type=_Failure)
    if failure.error is None and failure.object != "error":
        return
    error = failure.error if failure.error is not None else failure.message
    if isinstance(error, dict):
        error = error.get("message", error)
    raise EngineFailed(f"The engine reported an error: {str(error)[:500]}")
