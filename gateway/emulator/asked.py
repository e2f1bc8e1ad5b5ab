"""From a request body to what the engine is asked to do: prompts as ids, limits, forms; errors in vLLM's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec

from gateway.emulator.answer import Answer, Limits, Script
from gateway.emulator.chat import TemplateError, render
from gateway.emulator.protocol import ChatBody, CompletionBody, Conversation, Generate, Refused, TokenizeBody
from gateway.emulator.script import example, json_object
from gateway.emulator.text import Language, Sampler

COMPLETION_TOKENS = 16
"""OpenAI's default for completions that give no max_tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One valid request. `logprobs`: how many alternatives, None for none; `script`: the text that must come out."""

    prompts: list[list[int]]
    limits: Limits
    n: int
    seed: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    show_ids: bool
    salt: str | None
    priority: int
    logprobs: int | None = None
    echo: bool = False
    script: str | None = None
    tool: str | None = None

    def answer(self, language: Language, index: int) -> tuple[list[int], Answer]:
        """The prompt (a list of its own, to be extended) and the answer of a choice; choices go prompt by prompt."""
        vocabulary = language.vocabulary
        ids = list(self.prompts[index // self.n])
        if self.script is not None:
            script = Script(vocabulary.encode(self.script, special=False), vocabulary.eos)
            return ids, Answer(vocabulary, script, self.limits)
        seed = self.seed + index % self.n if self.seed else 0
        sampler = Sampler(language, ids, seed)
        return ids, Answer(vocabulary, sampler, self.limits, vocabulary.open_character(ids))


def asked_chat(body: ChatBody, language: Language, max_model_len: int, random: Random) -> Asked:
    """Refused (400) when the conversation cannot be answered."""
    ids = conversation_ids(body, language)
    name, schema = _tool(body)
    script = None
    if name is not None:
        script = msgspec.json.encode(example(schema)).decode()
    wanted = body.max_completion_tokens or body.max_tokens
    return Asked(
        prompts=[ids],
        limits=_limits(body, [ids], wanted or max(1, max_model_len - len(ids)), max_model_len),
        script=script or _structured(body.response_format),
        tool=name,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        **_common(body, random),
    )


def asked_completion(body: CompletionBody, language: Language, max_model_len: int, random: Random) -> Asked:
    """Refused (400) when a prompt is empty, holds unknown ids or is too long."""
    prompts = _prompts(body.prompt, language)
    return Asked(
        prompts=prompts,
        limits=_limits(body, prompts, body.max_tokens or COMPLETION_TOKENS, max_model_len),
        script=_structured(body.response_format),
        logprobs=body.logprobs,
        echo=body.echo,
        **_common(body, random),
    )


def conversation_ids(body: Conversation | TokenizeBody, language: Language) -> list[int]:
    """The rendered messages; Refused when they cannot be."""
    try:
        return render(
            language.vocabulary,
            body.messages or [],
            tools=body.tools or (),
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message,
        )
    except TemplateError as error:
        raise Refused(400, str(error), param="messages") from error


def _common(body: Generate, random: Random) -> dict[str, Any]:
    options = body.stream_options
    greedy = body.temperature == 0
    drawn = body.seed if body.seed is not None else random.getrandbits(63)
    return {
        "n": body.n,
        "seed": 0 if greedy else drawn,
        "stream": body.stream,
        "include_usage": options is not None and options.include_usage,
        "continuous_usage": options is not None and options.continuous_usage_stats,
        "show_ids": body.return_token_ids,
        "salt": body.cache_salt,
        "priority": body.priority,
    }


def _prompts(given: list[str | list[int]], language: Language) -> list[list[int]]:
    vocabulary = language.vocabulary
    prompts = [vocabulary.encode(prompt) if isinstance(prompt, str) else prompt for prompt in given]
    for ids in prompts:
        if not ids:
            raise Refused(400, "The decoder prompt cannot be empty", param="prompt")
        if max(ids) >= len(vocabulary):
            raise Refused(400, f"Token id {max(ids)} is out of vocabulary", param="prompt")
    return prompts


def _limits(body: Generate, prompts: list[list[int]], max_tokens: int, max_model_len: int) -> Limits:
    longest = max(len(prompt) for prompt in prompts)
    context = f"This model's maximum context length is {max_model_len} tokens"
    if longest >= max_model_len:
        told = f"{context}. However, your request has {longest} input tokens. Please reduce the length of the input."
        raise Refused(400, told, param="input_tokens")
    if longest + max_tokens > max_model_len:
        told = f"'max_tokens' or 'max_completion_tokens' is too large: {max_tokens}. {context} and your request has"
        told += f" {longest} input tokens ({max_tokens} > {max_model_len} - {longest})."
        raise Refused(400, told, param="max_tokens")
    if body.min_tokens > max_tokens:
        told = f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {body.min_tokens}."
        raise Refused(400, told, param="min_tokens")
    return Limits(
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        ignore_eos=body.ignore_eos,
        stop=body.stops(),
        stop_token_ids=frozenset(body.stop_token_ids or ()),
        include_stop=body.include_stop_str_in_output,
    )


def _structured(response_format: Mapping[str, Any] | None) -> str | None:
    """The text of a structured answer, None for a free one."""
    kind = (response_format or {}).get("type", "text")
    if kind == "json_object":
        return msgspec.json.encode(json_object()).decode()
    if kind == "json_schema" and response_format is not None:
        schema = (response_format.get("json_schema") or {}).get("schema")
        return msgspec.json.encode(example(schema)).decode()
    return None


def _tool(body: ChatBody) -> tuple[str | None, object]:
    """The function that must be called and the schema of its arguments; (None, None) when none must be."""
    choice = body.tool_choice
    if choice is None or choice in ("none", "auto"):
        return None, None
    functions = [tool.get("function") or {} for tool in body.tools or ()]
    if not functions:
        raise Refused(400, "When using `tool_choice`, `tools` must be set.", param="tool_choice")
    if isinstance(choice, dict):
        wanted = (choice.get("function") or {}).get("name")
        functions = [function for function in functions if function.get("name") == wanted]
        if not functions:
            raise Refused(400, "The tool specified in `tool_choice` does not match any of the `tools`", param="tools")
    schema = functions[0].get("parameters") or {"type": "object", "properties": {}}
    return str(functions[0].get("name")), schema
