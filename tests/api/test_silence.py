"""What a client sees of an engine that is silent, slow or broken, and how streams and whole answers end."""

import itertools
from typing import Any

import httpx2
import pytest

from tests.api.asking import CHAT, chat, error_of, events_of, lines_of

COMMENT = ": keep-alive"


async def test_comments_in_a_silence_are_single_lines(client: httpx2.AsyncClient) -> None:
    """No blank line after a comment: OpenAI's SDKs would take it for an event."""
    lines = await lines_of(client, chat(emulator_faults={"slow_first_token_s": 3.5}))
    comments = list(itertools.takewhile(lambda line: line == COMMENT, lines))

    assert len(comments) >= 2
    assert lines[len(comments)].startswith("data: ")
    assert all(after != "" for line, after in itertools.pairwise(lines) if line == COMMENT)
    assert not [line for line in lines if line.startswith(("id:", "retry:", "event:"))]
    assert events_of(lines)[-1] == "[DONE]"


async def test_a_failure_after_the_headers_is_an_event(client: httpx2.AsyncClient) -> None:
    """The same code as the status would have had, and never a clean end."""
    faults = {"slow_first_token_s": 0.5, "die_after_tokens": 0}
    lines = await lines_of(client, chat(emulator_faults=faults))
    events = events_of(lines)

    assert [event["error"]["code"] for event in events] == ["engine_failed"]
    assert events[0]["error"]["type"] == "upstream_error"
    assert lines[-2:] == ["", ""]


@pytest.mark.parametrize("fault", ["die_after_tokens", "garbage_after_tokens", "error_after_tokens"])
async def test_an_engine_that_breaks_in_the_middle(client: httpx2.AsyncClient, fault: str) -> None:
    """What came is kept, then a well-formed error and no [DONE], where the answer cannot go on."""
    events = events_of(await lines_of(client, chat(emulator_faults={fault: 3}, presence_penalty=0.1)))

    assert "[DONE]" not in events
    assert events[-1]["error"]["code"] == "engine_failed"
    assert len(events) > 1
    assert all("choices" in event for event in events[:-1])


async def test_a_slow_whole_answer_is_awaited(client: httpx2.AsyncClient) -> None:
    """Its headers wait for it, so that its failure is a status."""
    slow = {"slow_first_token_s": 0.4}
    assert (await client.post(CHAT, json=chat(emulator_faults=slow))).status_code == 200

    response = await client.post(CHAT, json=chat(emulator_faults={**slow, "die_after_tokens": 0}))
    assert (response.status_code, error_of(response)["code"]) == (502, "engine_failed")


async def test_usage_is_shown_only_when_asked_for(client: httpx2.AsyncClient) -> None:
    """The gateway always asks the engine; the client sees it in a last chunk of its own, or not at all."""
    plain = events_of(await lines_of(client, chat(temperature=0)))
    asked = events_of(await lines_of(client, chat(temperature=0, stream_options={"include_usage": True})))
    whole = (await client.post(CHAT, json=chat(temperature=0))).json()

    assert not [event for event in plain[:-1] if event.get("usage")]
    assert all(event["choices"] for event in plain[:-1])
    assert (asked[-2]["choices"], asked[-2]["usage"]) == ([], whole["usage"])
    assert text_of(plain) == text_of(asked) == whole["choices"][0]["message"]["content"]


@pytest.mark.parametrize("field", ["token_ids", "prompt_token_ids"])
async def test_token_ids_are_shown_only_when_asked_for(client: httpx2.AsyncClient, field: str) -> None:
    """The gateway asks for them in streams, to count."""
    plain = await lines_of(client, chat())
    asked = await lines_of(client, chat(return_token_ids=True))

    assert not [line for line in plain if f'"{field}"' in line]
    assert [line for line in asked if f'"{field}"' in line]


async def test_stop_strings_end_the_answer(client: httpx2.AsyncClient) -> None:
    """Whole or streamed, the text before the stop string is all there is."""
    fields: dict[str, Any] = {"temperature": 0, "max_tokens": 40}
    full = (await client.post(CHAT, json=chat(**fields))).json()["choices"][0]["message"]["content"]
    word = full.split()[3]
    whole = (await client.post(CHAT, json=chat(**fields, stop=[word]))).json()["choices"][0]
    streamed = events_of(await lines_of(client, chat(**fields, stop=word)))

    assert whole["finish_reason"] == "stop"
    assert whole["message"]["content"] == full[: full.index(word)] == text_of(streamed)
    assert streamed[-2]["choices"][0]["finish_reason"] == "stop"


async def test_a_short_paced_answer_leaves_its_engine_usable(client: httpx2.AsyncClient) -> None:
    """A reader ahead of the pace pauses the engine's connection, which the next request may get."""
    for _ in range(3):
        events = events_of(await lines_of(client, chat(n=2, max_tokens=30, pace={"ttft": 0, "rate": 0.1})))
        assert events[-1] == "[DONE]"
        assert (await client.post(CHAT, json=chat())).status_code == 200


def text_of(events: list[Any]) -> str:
    """The first choice's text, put together."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in events
        if event != "[DONE]"
        for choice in event["choices"]
        if choice["index"] == 0
    )
