"""The bound on a prompt's length holds for a tokenizer of bytes, and the estimate learns."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.emulator.chat import render
from gateway.emulator.text import Language
from gateway.engines.base import Endpoint
from gateway.runtime.sizing import PromptSize, TokenRatio, measure

LANGUAGE = Language()
VOCABULARY = LANGUAGE.vocabulary

TEXT = st.text(max_size=60) | st.sampled_from(
    ["the river ", "川の流れ", "🌊🌊", "<|im_start|>", "\n\n\n", '"\\"', "\x00\x01", " "]
)
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXT), max_size=4)
NAMED = st.dictionaries(TEXT, TEXT | st.integers() | st.booleans() | st.none(), max_size=4)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc123", max_size=9),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
        }
    ),
    max_size=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXT | PARTS | st.none()},
        optional={"name": TEXT, "tool_calls": CALLS},
    ),
    min_size=1,
    max_size=5,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": TEXT, "description": TEXT, "parameters": st.fixed_dictionaries({"properties": NAMED})}
            ),
        }
    ),
    max_size=3,
)


@settings(max_examples=200, deadline=None)
@given(MESSAGES, TOOLS)
def test_a_chat_is_never_longer_than_the_bound(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    """Whatever stands in messages, tools and calls of tools, with the template's own marks."""
    body: dict[str, Any] = {"messages": messages} | ({"tools": tools} if tools else {})
    size = measure(Endpoint.CHAT, body)

    assert len(render(VOCABULARY, messages, tools=tools)) <= size.most_tokens
    assert size.messages == len(messages)
    assert not size.opaque


@settings(max_examples=100, deadline=None)
@given(TEXT | st.lists(TEXT, min_size=1, max_size=4))
def test_a_text_is_never_longer_than_the_bound(prompt: str | list[str]) -> None:
    """One prompt, or several together."""
    prompts = prompt if isinstance(prompt, list) else [prompt]

    assert (
        sum(len(VOCABULARY.encode(each)) for each in prompts)
        <= measure(Endpoint.COMPLETIONS, {"prompt": prompt}).most_tokens
    )


@pytest.mark.parametrize(
    ("prompt", "ids"), [([1, 2, 3], 3), ([[1, 2], [3]], 3), (["a", [1, 2]], 2), (None, 0), ([], 0), ("abc", 0)]
)
def test_token_ids_count_as_they_are(prompt: object, ids: int) -> None:
    """In both forms of the API."""
    assert measure(Endpoint.COMPLETIONS, {"prompt": prompt}).token_ids == ids


@pytest.mark.parametrize(
    ("part", "opaque"),
    [
        ({"type": "text", "text": "a"}, False),
        ({"type": "refusal", "refusal": "a"}, False),
        ({"text": "a"}, False),
        ("a", False),
        ({"type": "image_url", "image_url": {"url": "data:..."}}, True),
        ({"type": "input_audio", "input_audio": {}}, True),
        ({"type": "file", "file": {}}, True),
    ],
)
def test_what_is_not_text_has_no_bound(part: object, opaque: bool) -> None:
    """Images, audio and files are left to the engine."""
    body = {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": [part]}]}

    assert measure(Endpoint.CHAT, body).opaque is opaque


def test_the_estimate_learns() -> None:
    """From what engines counted: after a while it is right about prompts of the same kind."""
    ratio = TokenRatio()
    size = PromptSize(text_bytes=4000, messages=2)
    assert abs(ratio.estimate(size) - 1088) <= 1
    for _ in range(200):
        ratio.learn(size, 2008)

    assert abs(ratio.estimate(size) - 2008) <= 4
    assert ratio.estimate(PromptSize(0, 0)) == 1
    assert ratio.estimate(PromptSize(0, 1, token_ids=500)) == 504


@pytest.mark.parametrize(
    "size", [PromptSize(10, 1), PromptSize(4000, 1, opaque=True), PromptSize(4000, 1, token_ids=5)]
)
def test_what_teaches_nothing(size: PromptSize) -> None:
    """Too short to tell, or not made of text alone."""
    ratio = TokenRatio()
    ratio.learn(size, 4000)

    assert ratio.estimate(PromptSize(4000, 2)) == TokenRatio().estimate(PromptSize(4000, 2))


@given(st.lists(st.integers(0, 10**9), max_size=50))
def test_the_ratio_stays_sane(counts: list[int]) -> None:
    """No count, however odd, makes an estimate of more tokens than bytes."""
    ratio = TokenRatio()
    for tokens in counts:
        ratio.learn(PromptSize(1000, 1), tokens)

    assert 1 <= ratio.estimate(PromptSize(1000, 1)) <= 1004


def test_measuring_sees_every_string_once() -> None:
    """What a template may print is in the bound: also names of arguments in a tool's schema."""
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a" * 500: {"type": "string"}}}},
    }

    body = {"messages": [{"role": "user", "content": ""}], "tools": [tool]}
    assert measure(Endpoint.CHAT, body).text_bytes >= len(json.dumps(tool))
