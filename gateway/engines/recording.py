"""A stream's first leg as a rule: its bytes are passed on as they came, and what they say is kept.

An event whose token has no text yet (it ends inside a character) waits for the next one that has: a leg is cut only
where all text of its tokens was sent, since engines misbehave when they go on from the middle of a character.
"""

from typing import Any, Final

import msgspec

from gateway.engines.base import Usage
from gateway.engines.relay import Choice, Chunk, ChunkRelay, Delta, Renaming
from gateway.engines.transcript import Transcript

MAX_HELD: Final = 64
REASONING: Final = ("reasoning", "reasoning_content")  # some versions of vLLM send both, with the same text
_NOT_REPEATED: Final = frozenset({"choices", "usage", "prompt_token_ids"})


def head_of(chunk: dict[str, Any]) -> dict[str, Any]:
    """What every chunk of a stream repeats."""
    return {name: value for name, value in chunk.items() if name not in _NOT_REPEATED}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """`usage` of the OpenAI API; what a cache spared is not known of a stream that was cut."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens": usage.completion_tokens,
        "prompt_tokens_details": None,
    }


def usage_event(head: dict[str, Any] | None, usage: Usage) -> bytes:
    """The last chunk of a stream that was asked for its usage."""
    chunk = {**(head or {}), "choices": [], "usage": usage_fields(usage)}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


class RecordingRelay(ChunkRelay):
    """For one choice. Holds at most `MAX_HELD` events."""

    def __init__(
        self,
        transcript: Transcript,
        *,
        include_usage: bool = False,
        strip_token_ids: bool = False,
        rename: Renaming | None = None,
    ) -> None:
        super().__init__(include_usage=include_usage, strip_token_ids=strip_token_ids, rename=rename)
        self._transcript = transcript
        self._held: list[tuple[bytes, list[int]]] = []

    def conclude(self) -> bytes | None:
        if not self.finished:
            return None
        shown = b""
        prompt = self._transcript.prompt_tokens
        if not self._transcript.counted and prompt is not None:
            self.usage = Usage(prompt, self._transcript.tokens, prompt)
            shown = usage_event(self._transcript.head, self.usage) if self._include_usage else b""
        return shown

    def _one(self, chunk: Chunk, choice: Choice, event: bytes) -> bytes:
        self._mark(choice)
        return self._keep(chunk, choice, self._clean(event))

    def _event(self, chunk: Chunk, event: bytes) -> bytes:
        if chunk.usage is not None and self.usage is not None:
            self._transcript.prompt_tokens = self.usage.prompt_tokens
            self._transcript.counted = not chunk.choices
        if not chunk.choices:
            return self._clean(event) if chunk.usage is None or self._include_usage else b""
        for choice in chunk.choices:
            self._mark(choice)
        self._transcript.finished = self.finished
        return self._keep(chunk, chunk.choices[0], self._clean(event))

    def _keep(self, chunk: Chunk, choice: Choice, event: bytes) -> bytes:
        transcript = self._transcript
        if transcript.head is None:
            transcript.head = head_of(msgspec.json.decode(event[6:]))
        if not transcript.prompt_ids:
            transcript.prompt(chunk.prompt_token_ids or choice.prompt_token_ids)
        text = self._text(choice)
        ids = choice.token_ids
        if not isinstance(ids, list):
            if self._held and (text or choice.finish_reason):
                event, ids = self._release(event, [])
                self._add(ids)
            if text:
                self.tokens += 1
                transcript.add_text(text, 1)
            return event
        if ids and not text and not choice.finish_reason:
            return self._hold(event, ids)
        if self._held:
            event, ids = self._release(event, ids)
        self._add(ids)
        return event

    def _add(self, ids: list[int]) -> None:
        if ids:
            self.tokens += len(ids)
            self._transcript.add_ids(ids, len(ids))

    def _text(self, choice: Choice) -> str:
        delta, transcript = choice.delta, self._transcript
        if not isinstance(delta, Delta):
            return choice.text if isinstance(choice.text, str) else ""
        thought = self._thought(delta) if delta.reasoning or delta.reasoning_content else ""
        if isinstance(delta.content, str) and delta.content:
            transcript.part = "content"
            return delta.content
        if thought:
            return thought
        if delta.says():
            transcript.broken = "the answer is not text alone"
            return "?"
        return ""

    def _thought(self, delta: Delta) -> str:
        found = {name: said for name in REASONING if isinstance(said := getattr(delta, name), str) and said}
        if not found:
            return ""
        self._transcript.part, self._transcript.reasoned = " ".join(found), True
        return next(iter(found.values()))

    def _hold(self, event: bytes, ids: list[int]) -> bytes:
        self._held.append((event, ids))
        if len(self._held) < MAX_HELD:
            return b""
        self._transcript.broken = "the engine sends tokens without text"
        out, ids = self._release(b"", [])
        self.tokens += len(ids)
        return out

    def _release(self, event: bytes, ids: list[int]) -> tuple[bytes, list[int]]:
        held, self._held = self._held, []
        out = b"".join([*(each for each, _ in held), event])
        return out, [token for _, each in held for token in each] + ids
