"""How long a prompt is, before any engine has seen it.

A byte-level tokenizer never makes more tokens than bytes, so most requests are shown to fit without asking anybody;
the engine is asked only when that bound does not settle it. For scheduling and limits an estimate is enough: bytes
times the pool's own tokens per byte, learned from the prompts that engines counted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.engines.base import Endpoint

TEMPLATE_TOKENS: Final = 16  # role marks and separators of one message, generously
PREAMBLE_TOKENS: Final = 64  # a template's own opening words, and the beginning of the answer
TOOLS_PREAMBLE_BYTES: Final = 1024  # how templates explain tools
FIRST_TOKENS_PER_BYTE: Final = 0.27
LEARNING: Final = 0.05


@dataclass(frozen=True, slots=True)
class PromptSize:
    """A prompt's measures. `opaque`: it holds images, audio or files, whose tokens nobody here can bound."""

    text_bytes: int
    messages: int
    token_ids: int = 0
    opaque: bool = False

    @property
    def most_tokens(self) -> int:
        """An upper bound for prompts of text."""
        return self.text_bytes + PREAMBLE_TOKENS + self.messages * TEMPLATE_TOKENS + self.token_ids


def measure(endpoint: Endpoint, body: Mapping[str, Any]) -> PromptSize:
    """Measure a chat or text completion request's prompt."""
    if endpoint is Endpoint.CHAT:
        messages = body["messages"]
        size = sum(_message_bytes(message) for message in messages)
        if tools := body.get("tools"):
            size += TOOLS_PREAMBLE_BYTES + _json_bytes(tools)
        return PromptSize(size, len(messages), opaque=_has_media(messages))
    prompt = body.get("prompt")
    prompts = prompt if isinstance(prompt, list) else [prompt]
    ids = sum(1 for item in prompts if isinstance(item, int))
    ids += sum(len(item) for item in prompts if isinstance(item, list))
    return PromptSize(_utf8(item for item in prompts if isinstance(item, str)), 1, token_ids=ids)


def longest_ids(body: Mapping[str, Any]) -> int:
    """The tokens of the longest prompt of those that came as token ids: each has the whole context to itself."""
    prompt = body["prompt"]
    return max((len(item) for item in prompt if isinstance(item, list)), default=len(prompt))


class TokenRatio:
    """Tokens per byte of a pool's prompts, learned as they are counted."""

    def __init__(self) -> None:
        self._ratio = FIRST_TOKENS_PER_BYTE

    def estimate(self, size: PromptSize) -> int:
        """Tokens, at least 1."""
        return max(1, round(size.text_bytes * self._ratio) + 4 * size.messages + size.token_ids)

    def learn(self, size: PromptSize, tokens: int) -> None:
        """An engine counted this prompt."""
        if size.text_bytes >= 64 and not size.opaque and not size.token_ids:
            seen = max(0.0, tokens - 4 * size.messages) / size.text_bytes
            self._ratio += LEARNING * (min(1.0, seen) - self._ratio)


def _message_bytes(message: Mapping[str, Any]) -> int:
    """Content as text, everything else as the JSON that a template may make of it."""
    size = 0
    for name, value in message.items():
        if isinstance(value, str):
            size += _utf8((value,))
        elif name == "content" and isinstance(value, list):
            size += len(value) + _utf8(text for part in value for text in _strings(part))
        elif value is not None:
            size += _json_bytes(value)
    return size


def _strings(part: Any) -> Iterable[str]:
    values = part.values() if isinstance(part, dict) else (part,)
    return (value for value in values if isinstance(value, str))


def _json_bytes(value: Any) -> int:
    """With spaces and escapes: no template writes it longer, but for indentation, which tokenizers take in runs."""
    return len(json.dumps(value))


def _utf8(texts: Iterable[str]) -> int:
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def _has_media(messages: Iterable[Any]) -> bool:
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and any(
            isinstance(part, dict) and part.get("type", "text") not in ("text", "refusal") for part in content
        ):
            return True
    return False
