"""llama.cpp's server. Source: its README (tools/server).

A stream begins at the OpenAI-compatible calls, which tell no token ids, so a chat goes on as text: the server takes a
last message of the assistant for the beginning of the answer. A stream whose ids are known, from another kind of
engine, goes on at the native call, which takes and tells ids.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.engines.base import Endpoint, EngineFacts, Leg, LegRequest, LegSink, Resumability, ResumeLevel
from gateway.engines.leg import finish
from gateway.engines.openai import OpenAIEngine
from gateway.engines.resume import obstacle, remaining
from gateway.engines.rewriting import RewritingRelay
from gateway.engines.textual import chat_that_goes_on, continues_text
from gateway.engines.transcript import Transcript

NATIVE: Final = "/completion"
# Fields that the native call lacks or writes otherwise, and the values that ask for nothing.
_FOREIGN: Final[Mapping[str, tuple[Any, ...]]] = {
    "stop_token_ids": (None, []),
    "allowed_token_ids": (None, []),
    "min_tokens": (None, 0),
    "logprobs": (None,),
    "skip_special_tokens": (None, True),
}
_SAMPLING: Final = ("temperature", "top_k", "top_p", "min_p", "seed", "logit_bias", "ignore_eos")


class LlamaCppEngine(OpenAIEngine):
    """Adds health, slots and the ways to go on. A client's `x-conversation-id` never reaches it: with one, a run would
    survive its reader."""

    async def probe(self) -> EngineFacts:
        await self._get("/health")
        listed = await super().probe()
        props = await self._get_json("/props")
        settings = props.get("default_generation_settings")
        context = settings.get("n_ctx") if isinstance(settings, dict) else None
        self._context_tokens = context if isinstance(context, int) else listed.context_tokens
        return EngineFacts(models=listed.models, context_tokens=self._context_tokens)

    def can_resume(self, request: LegRequest) -> Resumability:
        """By ids where they are known, else as text."""
        transcript = request.transcript
        known = transcript is not None and transcript.begun and transcript.by_ids and not transcript.broken
        if known and not obstacle(request):
            foreign = [name for name, harmless in _FOREIGN.items() if request.body.get(name) not in harmless]
            if foreign:
                return Resumability(ResumeLevel.NO, f"its own call has no {foreign[0]}")
            greedy = request.body.get("temperature") == 0
            return Resumability(ResumeLevel.REPLAY if greedy else ResumeLevel.TOKEN, "" if greedy else "drawn anew")
        return continues_text(request, chats=True)

    async def _go_on(self, request: LegRequest, transcript: Transcript, sink: LegSink) -> Leg:
        if not transcript.by_ids:
            return await super()._go_on(request, transcript, sink)
        left = remaining(request, transcript, self._context_tokens)
        relay = _NativeRelay(
            transcript,
            chat=request.endpoint is Endpoint.CHAT,
            model=self._settings.model,
            include_usage=request.include_usage,
            show_ids=request.include_token_ids,
        )
        if left == 0 or transcript.finished:
            return finish(sink, relay)
        body: dict[str, Any] = {name: request.body[name] for name in _SAMPLING if name in request.body}
        if "repetition_penalty" in request.body:
            body["repeat_penalty"] = request.body["repetition_penalty"]
        body |= {"prompt": [*transcript.prompt_ids, *transcript.token_ids], "n_predict": -1 if left is None else left}
        body |= {"stream": True, "return_tokens": True, "cache_prompt": True}
        return await self._send(NATIVE, body, request, sink, relay)

    def _rewriting(
        self, request: LegRequest, transcript: Transcript, relay: type[RewritingRelay] = RewritingRelay
    ) -> RewritingRelay:
        repeats = request.endpoint is Endpoint.CHAT and transcript.begun
        return super()._rewriting(request, transcript, _EchoRelay if repeats else relay)

    async def _rest(
        self, request: LegRequest, transcript: Transcript, left: int | None
    ) -> tuple[Endpoint, dict[str, Any]]:
        if request.endpoint is Endpoint.COMPLETIONS:
            return await super()._rest(request, transcript, left)
        return Endpoint.CHAT, chat_that_goes_on(request, transcript, left)


class _EchoRelay(RewritingRelay):
    """A chat that goes on: the server's first text is the whole message so far, with the first token behind it.

    Seen of build 11434; earlier ones are said to begin with the new text.
    """

    _heard = False

    def _choice(self, chunk: dict[str, Any], choice: Any, usage: dict[str, Any] | None) -> list[bytes]:
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not self._heard and isinstance(delta, dict) and isinstance(text := delta.get("content"), str) and text:
            self._heard = True
            choice = {**choice, "delta": {**delta, "content": text.removeprefix(self._transcript.said)}}
        return super()._choice(chunk, choice, usage)


class _NativeRelay(RewritingRelay):
    """The native call's events: `{"content", "tokens", "stop", "tokens_predicted", ...}`, the last one with `stop`."""

    _told = 0

    def _event(self, payload: bytes) -> list[bytes]:
        event = msgspec.json.decode(payload)
        if not isinstance(event, dict) or "content" not in event:
            return super()._event(payload)
        ids = event.get("tokens")
        ids = ids if isinstance(ids, list) else []
        stopped = event.get("stop") is True
        predicted = event.get("tokens_predicted")
        if stopped and self._told == predicted:
            ids = []  # the last event repeats nothing of the text, but may repeat the ids
        self._told += len(ids)
        if isinstance(predicted, int) and predicted > self._told:
            # Ids of tokens that end inside a character are never told.
            self._transcript.broken = "the engine did not tell all token ids"
        choice: dict[str, Any] = {"text": event["content"], "token_ids": ids, "finish_reason": _finish(event, stopped)}
        out = self._choice({}, choice, None)
        if stopped and not self.done:
            out += self._own_usage()
            self.done = True
        return out


def _finish(event: dict[str, Any], stopped: bool) -> str | None:
    if not stopped:
        return None
    return "length" if event.get("stop_type") == "limit" or event.get("stopped_limit") else "stop"
