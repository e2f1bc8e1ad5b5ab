"""The chat template (ChatML's form) and what a message may hold. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.emulator.vocabulary import IM_END, IM_START, Vocabulary

Message = Mapping[str, Any]


class TemplateError(ValueError):
    """These messages cannot be rendered; the text is meant for the client."""


def render(
    vocabulary: Vocabulary,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = True,
    continue_final_message: bool = False,
) -> list[int]:
    """The ids of a conversation; TemplateError when it is empty, asks for both ends or holds more than text.

    A continued final message stands unclosed at the end, cut as it would have been generated, so that continuing from
    an answer's text gives the ids that continuing from its ids gives.
    """
    if not messages:
        raise TemplateError("messages must not be empty")
    if add_generation_prompt and continue_final_message:
        raise TemplateError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    start, end = vocabulary.special[IM_START], vocabulary.special[IM_END]
    newline = vocabulary.encode("\n")
    ids: list[int] = []
    if tools:
        ids += [start, *vocabulary.encode("system\nTools: " + msgspec.json.encode(tools).decode()), end, *newline]
    for message in messages:
        role = message.get("role", "user")
        ids += [start, *vocabulary.encode(f"{role}\n"), *vocabulary.encode(_text(message)), end, *newline]
    if continue_final_message:
        del ids[-1 - len(newline) :]
    if add_generation_prompt:
        ids += [start, *vocabulary.encode("assistant\n")]
    return ids


def _text(message: Message) -> str:
    content = message.get("content")
    if content is None:
        text = ""
    elif isinstance(content, str):
        text = content
    else:
        text = "\n".join(_part(part) for part in content)
    calls = message.get("tool_calls")
    return text + msgspec.json.encode(calls).decode() if calls else text


def _part(part: str | Mapping[str, Any]) -> str:
    if isinstance(part, str):
        return part
    if part.get("type") not in ("text", "input_text", "output_text", "refusal"):
        raise TemplateError("This model is not a multimodal model: only text parts are supported.")
    return str(part.get("text", part.get("refusal", "")))
