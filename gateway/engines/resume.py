"""Which requests can be continued after a cut, and how the rest of one is asked for.

Everything here is about the request; what an engine adds of its own is in its adapter. The table of all features is in
docs/resume.md; its facts come from the engines' sources and from trying them.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.engines.base import Endpoint, LegRequest
from gateway.engines.stops import StopMatcher
from gateway.engines.transcript import Transcript

COMPLETION_TOKENS: Final = 16  # what a completion without max_tokens gets, by OpenAI's API

# Fields that end where the prompt is rendered, or that are another's in the continuation.
_PROMPT_FIELDS: Final = frozenset(
    {
        "messages",
        "prompt",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "add_generation_prompt",
        "continue_final_message",
        "add_special_tokens",
        "chat_template",
        "chat_template_kwargs",
        "documents",
        "reasoning_effort",
        "include_reasoning",
        "truncate_prompt_tokens",
        "max_completion_tokens",
        "max_tokens",
        "min_tokens",
        "n",
        "logprobs",
        "top_logprobs",
    }
)
STOP_FIELDS: Final = frozenset({"stop", "include_stop_str_in_output"})

_ONE: Final = frozenset({None, 1})
# A field, the values that do no harm, and what a cut would do to the others.
_HARMFUL: Final[tuple[tuple[str, frozenset[Any], str], ...]] = (
    ("n", _ONE, "several answers share one run"),
    ("best_of", _ONE, "several answers share one run"),
    ("use_beam_search", frozenset({None, False}), "a beam's other branches are lost"),
    ("echo", frozenset({None, False}), "the prompt is part of the answer"),
    ("suffix", frozenset({None, ""}), "the text is filled in, not continued"),
    ("prompt_logprobs", frozenset({None}), "log probabilities of the prompt cannot be joined"),
    ("frequency_penalty", frozenset({None, 0}), "the penalty counts the leg's own tokens only"),
    ("presence_penalty", frozenset({None, 0}), "the penalty counts the leg's own tokens only"),
)
# These do harm whatever they say.
_SPOILING: Final[Mapping[str, str]] = {
    "guided_json": "a grammar would begin at its root again",
    "guided_regex": "a grammar would begin at its root again",
    "guided_choice": "a grammar would begin at its root again",
    "guided_grammar": "a grammar would begin at its root again",
    "structured_outputs": "a grammar would begin at its root again",
    "structural_tag": "a grammar would begin at its root again",
    "grammar": "a grammar would begin at its root again",
    "json_schema": "a grammar would begin at its root again",
    "regex": "a grammar would begin at its root again",
    "ebnf": "a grammar would begin at its root again",
    "bad_words": "forbidden words are looked for in the leg's own tokens only",
    "prompt_embeds": "the prompt has no token ids",
    "thinking_token_budget": "the budget would begin again",
    "logits_processors": "a processor's state is lost",
    "logit_processor": "a processor's state is lost",
    "functions": "a call would be parsed from its middle",
}


def obstacle(request: LegRequest) -> str:
    """Why this request cannot be continued anywhere, "" where it can."""
    body = request.body
    if not request.stream:
        return "a whole answer is sent once"
    for name, harmless, why in _HARMFUL:
        value = body.get(name)
        if isinstance(value, list | dict) or value not in harmless:
            return why
    for name, why in _SPOILING.items():
        if body.get(name) is not None:
            return why
    form = body.get("response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        return "a grammar would begin at its root again"
    if request.endpoint is Endpoint.CHAT:
        return _chat_obstacle(body)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and not all(isinstance(item, int) for item in prompt):
        return "several prompts share one run"
    return ""


def _chat_obstacle(body: Mapping[str, Any]) -> str:
    if body.get("tools") and body.get("tool_choice") != "none":
        return "a tool call would be parsed from its middle"
    if body.get("logprobs"):
        return "log probabilities of a chat have another form after a cut"
    if body.get("include_reasoning") is False:
        return "the token ids of hidden reasoning are not told"
    messages = body.get("messages")
    if isinstance(messages, list) and any(map(_has_media, messages)):
        return "pictures and sound have no token ids"
    return ""


def _has_media(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(
        not isinstance(part, dict) or part.get("type", "text") not in ("text", "refusal") for part in content
    )


def token_limit(request: LegRequest) -> int | None:
    """Tokens that the client allows the whole answer."""
    limit = whole(request.body.get("max_tokens"))
    if request.endpoint is Endpoint.COMPLETIONS:
        return COMPLETION_TOKENS if limit is None else limit
    return whole(request.body.get("max_completion_tokens")) or limit


def whole(value: Any) -> int | None:
    """JSON has one kind of number: 60.0 is 60."""
    return int(value) if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else None


def remaining(request: LegRequest, transcript: Transcript, context_tokens: int | None) -> int | None:
    """Tokens that the rest of the answer may have; None: as many as fit, where nobody knows how many these are."""
    limit = token_limit(request)
    if limit is not None:
        return max(0, limit - transcript.tokens)
    if context_tokens is None or transcript.prompt_tokens is None:
        return None
    return max(0, context_tokens - transcript.prompt_tokens - transcript.tokens)


def continuation(request: LegRequest, prompt: Any, left: int | None) -> dict[str, Any]:
    """A completion's body for the rest of the answer: the client's sampling, what is left of its limits."""
    body = {name: value for name, value in request.body.items() if name not in _PROMPT_FIELDS}
    body["prompt"] = prompt
    if left is not None:
        body["max_tokens"] = left
    least = whole(request.body.get("min_tokens"))
    if least is not None and request.transcript is not None and (rest := least - request.transcript.tokens) > 0:
        body["min_tokens"] = rest
    logprobs = request.body.get("logprobs")
    if logprobs is not None and request.endpoint is Endpoint.COMPLETIONS:
        body["logprobs"] = logprobs
    return body


def without_stops(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same request to an engine whose stop strings are matched here."""
    return {name: value for name, value in body.items() if name not in STOP_FIELDS}


def stop_matcher(body: Mapping[str, Any]) -> StopMatcher | None:
    """What matches the request's stop strings; None when there are none, or the engine is to refuse what is there."""
    given = body.get("stop")
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not stops or not all(isinstance(stop, str) and stop for stop in stops):
        return None
    return StopMatcher(
        stops,
        include=body.get("include_stop_str_in_output") is True,
        min_tokens=whole(body.get("min_tokens")) or 0,
    )
