"""Going on as text: for engines that tell no token ids, or take none."""

from typing import Any

from gateway.engines.base import Endpoint, LegRequest, Resumability, ResumeLevel
from gateway.engines.resume import obstacle, whole
from gateway.engines.transcript import Transcript


def continues_text(request: LegRequest, *, chats: bool) -> Resumability:
    """What such an engine can do; `chats`: it goes on with a last message of the assistant."""
    if why := obstacle(request):
        return Resumability(ResumeLevel.NO, why)
    transcript = request.transcript
    if transcript is not None and transcript.broken:
        return Resumability(ResumeLevel.NO, transcript.broken)
    if request.body.get("stop"):
        return Resumability(ResumeLevel.NO, "the engine withholds text that may begin a stop string")
    if transcript is not None and transcript.token_ids:
        return Resumability(ResumeLevel.NO, "the text was not kept")
    if request.endpoint is Endpoint.CHAT:
        return _chat(request) if chats else Resumability(ResumeLevel.NO, "this kind of engine continues a text only")
    if not isinstance(request.body.get("prompt"), str):
        return Resumability(ResumeLevel.NO, "the prompt is no text")
    return Resumability(ResumeLevel.TEXT, "this kind of engine tells no token ids")


def _chat(request: LegRequest) -> Resumability:
    if request.transcript is not None and request.transcript.reasoned:
        return Resumability(ResumeLevel.NO, "reasoning is no part of a message")
    messages = request.body.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, dict) and last.get("role") == "assistant":
        return Resumability(ResumeLevel.NO, "the client itself has begun the message")
    return Resumability(ResumeLevel.TEXT, "this kind of engine tells no token ids")


def chat_that_goes_on(request: LegRequest, transcript: Transcript, left: int | None) -> dict[str, Any]:
    """The same chat with the answer so far as its last message, and what is left of its limits."""
    body = {name: value for name, value in request.body.items() if name not in ("max_completion_tokens", "min_tokens")}
    body["messages"] = [*request.body["messages"], {"role": "assistant", "content": transcript.said}]
    if left is not None:
        body["max_tokens"] = left
    least = whole(request.body.get("min_tokens"))
    if least is not None and least > transcript.tokens:
        body["min_tokens"] = least - transcript.tokens
    return body
