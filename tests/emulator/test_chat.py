"""The chat template and prescribed answers."""

import json
from typing import Any

import pytest

from gateway.emulator.chat import TemplateError, render
from gateway.emulator.script import example
from gateway.emulator.text import Language

LANGUAGE = Language()
VOCABULARY = LANGUAGE.vocabulary

USER = {"role": "user", "content": "Hi"}


def shown(messages: list[dict[str, Any]], **options: Any) -> str:
    """The rendered text."""
    return VOCABULARY.decode(render(VOCABULARY, messages, **options))


def test_messages_are_rendered_in_chatml() -> None:
    """Roles, turns, and the opening of the answer."""
    opened = "<|im_start|>user\nHi<|im_end|>\n"

    assert opened + "<|im_start|>assistant\n" == shown([USER])
    assert opened == shown([USER], add_generation_prompt=False)


def test_a_continued_message_stays_open() -> None:
    """Its ids are those of the answer so far."""
    ids = render(VOCABULARY, [USER])
    part = VOCABULARY.encode("\n\nThe river is")
    messages = [USER, {"role": "assistant", "content": "\n\nThe river is"}]

    assert ids + part == render(VOCABULARY, messages, add_generation_prompt=False, continue_final_message=True)


def test_parts_and_calls_are_text() -> None:
    """Several text parts, no content at all, tool calls."""
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}

    text = shown([parts, calls], tools=[{"type": "function"}], add_generation_prompt=False)

    assert "Tools: [{" in text
    assert "user\na\nb<|im_end|>" in text
    assert 'assistant\n[{"id":"x"}]<|im_end|>' in text


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([], {}),
        ([USER], {"continue_final_message": True}),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], {}),
    ],
)
def test_what_cannot_be_rendered_is_refused(messages: list[dict[str, Any]], options: dict[str, Any]) -> None:
    """Empty, two ends at once, pictures."""
    with pytest.raises(TemplateError):
        render(VOCABULARY, messages, **options)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, dict),
        ({"type": "array", "items": {"type": "number"}, "minItems": 2}, list),
        ({"enum": ["x", "y"]}, str),
        ({"const": 3}, int),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, bool),
        ({"type": ["null", "string"]}, type(None)),
        ({}, str),
        (None, str),
    ],
)
def test_examples_fit_their_schema(schema: object, kind: type) -> None:
    """And are JSON."""
    value = example(schema)

    assert isinstance(value, kind)
    assert value == json.loads(json.dumps(value))


def test_a_schema_without_end_is_cut() -> None:
    """A property of its own kind."""
    loop: dict[str, Any] = {"type": "object"}
    loop["properties"] = {"again": loop}

    assert json.dumps(example(loop)).count("again") == 9
