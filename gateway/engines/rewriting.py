"""Streams whose chunks are made anew: the legs after the first, and those whose stop strings are matched here.

The client sees one stream: the first chunk's id, one role, one finish reason, one usage. A leg that goes on is always a
completion; for a chat its text is put back into the field that it belongs to.
"""

from typing import Any

import msgspec

from gateway.engines.base import REASONING_END, Usage
from gateway.engines.recording import MAX_HELD, REASONING, head_of, usage_event, usage_fields
from gateway.engines.relay import ABORTED, DONE, EngineUsage, raise_if_error, usable_usage
from gateway.engines.sse import SseDecoder
from gateway.engines.transcript import Transcript
from gateway.errors import EngineFailed

Json = dict[str, Any]


class RewritingRelay:
    """One leg of a stream of one choice. `chat`: what the client asked for; `model`: its name of the model;
    `reasoning_end`: the mark in a completion's text behind which a chat's parser calls it content."""

    def __init__(
        self,
        transcript: Transcript,
        *,
        chat: bool,
        model: str,
        include_usage: bool = False,
        show_ids: bool = False,
        reasoning_end: str = REASONING_END,
    ) -> None:
        self._sse = SseDecoder()
        self._transcript = transcript
        self._chat = chat
        self._model = model
        self._include_usage = include_usage
        self._show_ids = show_ids
        self._reasoning_end = reasoning_end
        self._begun_at = transcript.tokens
        self._offset = transcript.characters
        self._held = _Held()
        self._finish = ""
        self.tokens = 0
        self.usage: Usage | None = None
        self.done = False
        self.cut_short = False
        self.failure: EngineFailed | None = None

    @property
    def finished(self) -> bool:
        return bool(self._finish)

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        try:
            for payload in self._sse.feed(data):
                if payload == DONE:
                    self.done = True
                if self.done:
                    break
                out += self._event(payload)
        except EngineFailed as error:
            self.failure = error
        return b"".join(out)

    def conclude(self) -> bytes | None:
        if not self.finished:
            return None
        return b"".join(self._own_usage())

    def end_at_limit(self) -> bytes:
        """The end of an answer that has all the tokens it may have, or was cut behind its end; it needs no leg."""
        transcript = self._transcript
        if transcript.finished:
            return b"".join(self._own_usage())
        rest = transcript.stops.rest() if transcript.stops is not None else ""
        out = [*self._chunk(rest, {}, self._split(rest, "", "length"), "length"), *self._own_usage()]
        return b"".join(out)

    # ---- inside

    def _event(self, payload: bytes) -> list[bytes]:
        try:
            chunk = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EngineFailed("The engine sent something that is not a chunk.") from error
        if not isinstance(chunk, dict):
            raise EngineFailed("The engine sent something that is not a chunk.")
        choices = chunk.get("choices")
        if chunk.get("error") or not (choices or chunk.get("usage")):
            raise_if_error(payload)
        usage = self._count(chunk.get("usage"))
        if isinstance(choices, list) and choices:
            return self._choice(chunk, choices[0], usage)
        self._transcript.counted = usage is not None
        if usage is None or not self._include_usage:
            return []
        return [self._encode({"choices": [], "usage": usage})]

    def _choice(self, chunk: Json, choice: Any, usage: Json | None) -> list[bytes]:
        if not isinstance(choice, dict) or choice.get("finish_reason") == ABORTED:
            raise EngineFailed("The engine gave the answer up.")
        transcript = self._transcript
        opening = transcript.head is None
        if opening:
            transcript.head = {**head_of(chunk), "model": self._model}
        transcript.prompt(chunk.get("prompt_token_ids") or choice.get("prompt_token_ids"))
        ids = choice.get("token_ids")
        finish = choice.get("finish_reason") or ""
        *earlier, (part, text) = _said(choice)
        if not text and not ids and not finish:
            shown = {"prompt_token_ids": list(transcript.prompt_ids)} if self._show_ids and self._chat else {}
            return [self._encode({"choices": [choice], **shown})] if opening else []
        out = self._role(choice) if opening else []
        for other, said in earlier:
            self._held.add(said, [] if isinstance(ids, list) else None, None)
            out += self._release(other, {}, "", None)
        self._held.add(text, ids, choice.get("logprobs"))
        if not text and not finish and len(self._held) < MAX_HELD:
            return out
        return out + self._release(part, choice, finish, usage)

    def _role(self, choice: Json) -> list[bytes]:
        """The role of a first chunk that has text too: what is made anew of that has none."""
        delta = choice.get("delta")
        if not self._chat or not isinstance(delta, dict) or "role" not in delta:
            return []
        shown = {"role": delta["role"], "content": ""}
        return [self._encode({"choices": [{"index": 0, "delta": shown, "finish_reason": None}]})]

    def _release(self, part: str, choice: Json, finish: str, usage: Json | None) -> list[bytes]:
        transcript, held = self._transcript, self._held
        self._held = _Held()
        if not held.text and not finish:
            transcript.broken = "the engine sends tokens without text"
        if held.ids is not None:
            transcript.add_ids(held.ids, held.tokens)
            transcript.characters += len(held.text)
        else:
            transcript.add_text(held.text, held.tokens)
        self.tokens += held.tokens
        text, stopped = held.text, None
        parts: list[tuple[str, str]] = []
        if transcript.stops is not None:
            if part and transcript.part not in ("", part):  # what waits is of the field before
                parts = [(transcript.part, transcript.stops.rest())]
            text, stopped = transcript.stops.feed(text, transcript.tokens)
            if stopped is None and finish:
                text += transcript.stops.rest()
        fields: Json = {"logprobs": held.shifted(self._offset)}
        if self._show_ids and held.ids is not None:
            fields["token_ids"] = held.ids
            if not self._chat and not self._begun_at and transcript.tokens == held.tokens:
                fields["prompt_token_ids"] = list(transcript.prompt_ids)
        if stopped is not None:
            finish, fields["stop_reason"] = "stop", stopped
        elif finish and "stop_reason" in choice:
            fields["stop_reason"] = choice["stop_reason"]
        out = self._chunk(text, fields, parts + self._split(text, part, finish), finish, usage)
        if stopped is not None:
            self.done = self.cut_short = True
            out += self._own_usage()
        return out

    def _split(self, text: str, part: str, finish: str) -> list[tuple[str, str]]:
        """Text by the chat's fields: a completion shows the mark at which reasoning ends, a chat's parser eats it."""
        transcript = self._transcript
        if part:
            transcript.part = part
            transcript.reasoned = transcript.reasoned or part != "content"
        if part or transcript.part in ("", "content"):
            return [(transcript.part or "content", text)]
        window, transcript.unsplit = transcript.unsplit + text, ""
        thought, mark, answer = window.partition(self._reasoning_end)
        if mark:
            last, transcript.part = transcript.part, "content"
            return [(last, thought), ("content", answer)]
        keep = 0 if finish else _overlap(window, self._reasoning_end)
        transcript.unsplit = window[len(window) - keep :]
        return [(transcript.part, window[: len(window) - keep])]

    def _chunk(
        self, text: str, fields: Json, parts: list[tuple[str, str]], finish: str, usage: Json | None = None
    ) -> list[bytes]:
        """One chunk, or none where it would say nothing."""
        self._finish = finish
        self._transcript.finished = bool(finish)
        if self._chat:
            delta: dict[str, str] = {}
            for name, said in [(name, said) for part, said in parts if said for name in part.split()]:
                delta[name] = delta.get(name, "") + said
            says: Json = {"delta": delta or {"content": text}}
            nothing = not delta
        else:
            says, nothing = {"text": text}, not text
        if nothing and not finish and fields.get("logprobs") is None and "token_ids" not in fields:
            return []
        chunk: Json = {"choices": [{"index": 0, **says, "finish_reason": finish or None, **fields}]}
        if usage is not None:
            chunk["usage"] = usage
        return [self._encode(chunk)]

    def _count(self, told: Any) -> Json | None:
        """The engine's usage as that of the whole stream."""
        if told is None:
            return None
        try:
            usage = usable_usage(msgspec.convert(told, EngineUsage))
        except msgspec.ValidationError:
            return None
        if usage is None:
            return None
        transcript = self._transcript
        if not self._begun_at:
            self.usage = usage
            transcript.prompt_tokens = usage.prompt_tokens
            return dict(told)
        prompt = transcript.prompt_tokens
        if prompt is None:  # the earlier legs ended before they told it
            prompt = transcript.prompt_tokens = max(0, usage.prompt_tokens - self._begun_at)
        total = self._begun_at + usage.completion_tokens
        self.usage = Usage(prompt, total, usage.prompt_tokens, usage.cached_tokens)
        return usage_fields(self.usage)

    def _own_usage(self) -> list[bytes]:
        """What the engine would have told at its end."""
        prompt = self._transcript.prompt_tokens
        if prompt is None or self._transcript.counted:
            return []
        self._transcript.counted = True
        self.usage = Usage(prompt, self._transcript.tokens, prompt + self._begun_at)
        return [usage_event(self._transcript.head, self.usage)] if self._include_usage else []

    def _encode(self, fields: Json) -> bytes:
        return b"data: " + msgspec.json.encode({**(self._transcript.head or {}), **fields}) + b"\n\n"


def _said(choice: Json) -> list[tuple[str, str]]:
    """Text by the field that the engine had it in ("": a completion's, which goes where the last one went).

    Reasoning may be there under both of its names.
    """
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        text = choice.get("text")
        return [("", text if isinstance(text, str) else "")]
    names = [name for name in REASONING if isinstance(delta.get(name), str) and delta[name]]
    found = [(" ".join(names), delta[names[0]])] if names else []
    if isinstance(said := delta.get("content"), str) and said:
        found.append(("content", said))
    return found or [("", "")]


class _Held:
    """Tokens that wait for their text."""

    def __init__(self) -> None:
        self.text = ""
        self.ids: list[int] | None = None
        self.tokens = 0
        self._events = 0
        self._logprobs: list[Json] = []

    def __len__(self) -> int:
        return self._events

    def add(self, text: str, ids: Any, logprobs: Any) -> None:
        self._events += 1
        self.text += text
        if isinstance(ids, list):
            self.ids = (self.ids or []) + ids
            self.tokens += len(ids)
        elif text:
            self.tokens += 1
        if isinstance(logprobs, dict):
            self._logprobs.append(logprobs)

    def shifted(self, offset: int) -> Json | None:
        """All log probabilities as one, with the places of their text counted from the stream's beginning."""
        if not self._logprobs:
            return None
        joined: Json = {}
        for each in self._logprobs:
            for name, values in each.items():
                if isinstance(values, list):
                    moved = [place + offset for place in values] if name == "text_offset" else values
                    joined[name] = joined.get(name, []) + moved
        return joined


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of a text may be the mark's beginning."""
    return next((length for length in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:length])), 0)
