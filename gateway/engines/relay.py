"""From an engine's chunks to what its client gets: counted, stripped of what only the gateway asked for, not rewritten.

This is the token path. Each event is decoded once into the few fields that matter here (msgspec skips the rest) and
passed on as the bytes that came. Removing a field is cutting bytes: inside a JSON string every quote is escaped, so
`,"token_ids":[` can only be a key, never text.
"""

import re
from typing import Any, Final

import msgspec

from gateway.engines.base import Events, Usage
from gateway.engines.sse import SseDecoder
from gateway.errors import EngineFailed

DONE: Final = b"[DONE]"
_TOKEN_IDS: Final = re.compile(rb',\s*"(?:prompt_)?token_ids":\s*(?:null|\[[\d,\s]*\])')


class _Delta(msgspec.Struct):
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


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: msgspec.Raw | None = None
    finish_reason: str | None = None

    def tokens(self) -> int:
        if self.token_ids is not None:
            return len(self.token_ids)
        return 1 if self.text or (self.delta is not None and self.delta.says()) else 0


class EngineUsage(msgspec.Struct):
    """`usage` of the OpenAI API."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0

    def plain(self) -> Usage:
        return Usage(self.prompt_tokens, self.completion_tokens or 0)


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: EngineUsage | None = None
    error: Any = None
    object: Any = None
    message: Any = None


class ChunkRelay:
    """One stream's decoder and counter.

    `choices` is how many answers the client asked for (n x prompts); `model` = (the engine's name, the client's name)
    where they differ.
    """

    def __init__(
        self,
        *,
        choices: int = 1,
        include_usage: bool = False,
        strip_token_ids: bool = False,
        model: tuple[str, str] | None = None,
    ) -> None:
        self._sse = SseDecoder()
        self._decode = msgspec.json.Decoder(_Chunk).decode
        self._unfinished = choices
        self._include_usage = include_usage
        self._strip_token_ids = strip_token_ids
        self._rename: tuple[re.Pattern[bytes], bytes] | None = None
        if model is not None and model[0] != model[1]:
            pattern = rb'"model":\s*' + re.escape(msgspec.json.encode(model[0]))
            self._rename = (re.compile(pattern), b'"model":' + msgspec.json.encode(model[1]))
        self.done = False

    @property
    def finished(self) -> bool:
        """Whether every choice has got its finish reason."""
        return self._unfinished <= 0

    def feed(self, data: bytes) -> Events | None:
        """What of these bytes goes on to the client; None when they completed no event.

        EngineFailed when the engine sends something that is not a chunk.
        """
        out: list[bytes] = []
        tokens = 0
        usage: Usage | None = None
        error: str | None = None
        payloads = self._sse.feed(data)
        for payload in payloads:
            if payload == DONE:
                self.done = True
                break
            chunk = self._chunk(payload)
            if chunk.error is not None or chunk.object == "error":
                error = _error_text(chunk)
                break
            if chunk.usage is not None:
                usage = chunk.usage.plain()
                if not chunk.choices and not self._include_usage:
                    continue
            for choice in chunk.choices:
                tokens += choice.tokens()
                if choice.finish_reason is not None:
                    self._unfinished -= 1
            out.append(self._clean(payload))
        if not payloads:
            return None
        text = b"data: " + b"\n\ndata: ".join(out) + b"\n\n" if out else b""
        return Events(text, tokens, usage=usage, error=error)

    def _chunk(self, payload: bytes) -> _Chunk:
        try:
            return self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed("The engine sent something that is not a chunk.") from error

    def _clean(self, payload: bytes) -> bytes:
        if self._strip_token_ids:
            payload = _TOKEN_IDS.sub(b"", payload)
        if self._rename is not None:
            payload = self._rename[0].sub(self._rename[1], payload, count=1)
        return payload


def _error_text(chunk: _Chunk) -> str:
    """The engine's own words, for the log; clients get a message of ours."""
    error = chunk.error if chunk.error is not None else chunk.message
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:500]
