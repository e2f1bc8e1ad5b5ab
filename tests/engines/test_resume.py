"""Which requests can be continued, and how."""

from typing import Any

import pytest

from gateway.engines.base import Endpoint, EngineSettings, LegRequest, ResumeLevel
from gateway.engines.resume import continuation, obstacle, remaining, token_limit
from gateway.engines.transcript import Transcript
from gateway.engines.vllm import VllmEngine
from gateway.wiring import ENGINES

Json = dict[str, Any]
CHAT: Json = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
TEXT: Json = {"prompt": "hi", "max_tokens": 9}


def chat(**extra: Any) -> LegRequest:
    return LegRequest("x", Endpoint.CHAT, {**CHAT, **extra}, stream=True)


def text(**extra: Any) -> LegRequest:
    return LegRequest("x", Endpoint.COMPLETIONS, {**TEXT, **extra}, stream=True)


@pytest.mark.parametrize(
    "harmless",
    [
        {},
        {"n": 1},
        {"n": None, "best_of": 1, "echo": False, "frequency_penalty": 0, "presence_penalty": 0.0, "suffix": ""},
        {"response_format": {"type": "text"}},
        {"stop": ["a", "b"], "seed": 3, "top_p": 0.5, "logit_bias": {"5": 1}, "repetition_penalty": 1.1},
    ],
)
def test_what_can_be_continued(harmless: Json) -> None:
    """Sampling from the last token on has no memory, but for what is on the other list."""
    assert obstacle(chat(**harmless)) == obstacle(text(**harmless)) == ""
    assert obstacle(chat(tools=[{"type": "function"}], tool_choice="none")) == ""
    assert obstacle(text(prompt=[1, 2, 3], logprobs=3)) == ""


@pytest.mark.parametrize(
    "harmful",
    [
        {"n": 2},
        {"best_of": 2},
        {"use_beam_search": True},
        {"echo": True},
        {"suffix": "end"},
        {"prompt_logprobs": 1},
        {"frequency_penalty": 0.5},
        {"presence_penalty": -1},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": "odd"},
        {"guided_json": {}},
        {"structured_outputs": {"regex": "a"}},
        {"bad_words": ["x"]},
        {"n": [2]},
    ],
)
def test_what_cannot_be_continued(harmful: Json) -> None:
    """With a reason for people."""
    for request in (chat(**harmful), text(**harmful)):
        assert obstacle(request)
        engine_says = VllmEngine.can_resume(_engine(), request)
        assert engine_says.level is ResumeLevel.NO
        assert engine_says.why


def _engine() -> VllmEngine:
    engine = VllmEngine.__new__(VllmEngine)  # no loop, no sockets: the question is about the request
    engine._context_tokens = 100
    engine._settings = EngineSettings("e", "http://e", "vllm", "m")
    return engine


@pytest.mark.parametrize(
    "request_",
    [
        chat(tools=[{"type": "function"}]),
        chat(logprobs=True),
        chat(include_reasoning=False),
        chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
        text(prompt=["a", "b"]),
        text(prompt=[[1], [2]]),
        LegRequest("x", Endpoint.CHAT, CHAT, stream=False),
    ],
)
def test_what_cannot_be_continued_in_one_of_the_calls(request_: LegRequest) -> None:
    """Tool calls, a chat's log probabilities, pictures, several prompts, whole answers."""
    assert obstacle(request_)


@pytest.mark.parametrize(
    ("extra", "level"),
    [({"temperature": 0}, ResumeLevel.REPLAY), ({}, ResumeLevel.TOKEN), ({"seed": 1}, ResumeLevel.TOKEN)],
)
def test_the_levels_of_vllm(extra: Json, level: ResumeLevel) -> None:
    """Greedy answers come out as unbroken ones; others are drawn anew from the same place."""
    assert _engine().can_resume(chat(**extra)).level is level


def test_a_spoilt_transcript_is_not_continued() -> None:
    """Token ids that are no numbers, or an answer that nobody kept."""
    engine = _engine()
    for transcript in (Transcript(tokens=3), Transcript(broken="spoilt")):
        request = LegRequest("x", Endpoint.CHAT, CHAT, stream=True, transcript=transcript)
        assert not engine.can_resume(request)
    transcript = Transcript()
    transcript.prompt([1, "x"])
    assert transcript.broken


@pytest.mark.parametrize(("version", "resumable"), [((0, 32), False), ((0, 33), True), ((1, 0), True)])
def test_reasoning_on_old_servers(version: tuple[int, int], resumable: bool) -> None:
    """They hide the ids of some of its tokens."""
    engine = _engine()
    engine._version = version
    transcript = Transcript(reasoned=True)
    transcript.prompt([1])
    transcript.add_ids([2], 1)
    request = LegRequest("x", Endpoint.CHAT, CHAT, stream=True, transcript=transcript)
    assert bool(engine.can_resume(request)) is resumable


def test_what_is_left() -> None:
    """The client's limits are the whole answer's."""
    transcript = Transcript(tokens=4, prompt_tokens=10)
    assert remaining(chat(), transcript, 100) == 5
    assert remaining(chat(max_completion_tokens=4), transcript, 100) == 0
    no_limit = LegRequest("x", Endpoint.CHAT, {"messages": []}, stream=True)
    assert (token_limit(no_limit), remaining(no_limit, transcript, 100)) == (None, 86)
    assert remaining(no_limit, transcript, None) is None
    assert token_limit(LegRequest("x", Endpoint.COMPLETIONS, {"prompt": "a"}, stream=True)) == 16


def test_a_limit_may_be_written_as_a_float() -> None:
    """60.0 is the integer 60 in JSON, and engines take it; a completion has one name for its limit."""
    transcript = Transcript(tokens=4)
    request = LegRequest(
        "x", Endpoint.CHAT, {"messages": [], "max_tokens": 60.0, "min_tokens": 9.0}, stream=True, transcript=transcript
    )
    assert remaining(request, transcript, None) == 56
    assert continuation(request, [1], 56)["min_tokens"] == 5
    assert token_limit(text(max_completion_tokens=500)) == 9


def test_the_rest_keeps_what_the_client_asked_for() -> None:
    """Sampling stays, what belongs to the prompt goes, `min_tokens` shrinks."""
    transcript = Transcript(tokens=4)
    body = {**CHAT, "min_tokens": 6, "top_k": 5, "chat_template": "x", "stream": True, "logprobs": False, "seed": 3}
    request = LegRequest("x", Endpoint.CHAT, body, stream=True, transcript=transcript)
    rest = {"prompt": [1, 2], "max_tokens": 5, "min_tokens": 2, "top_k": 5, "stream": True, "seed": 3}
    assert continuation(request, [1, 2], 5) == rest


@pytest.mark.parametrize("kind", ["sglang", "llamacpp", "tgi"])
async def test_a_message_that_the_client_has_begun(kind: str) -> None:
    """An engine that goes on with the last message would find two of them."""
    begun = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    engine = ENGINES[kind](EngineSettings("e", "http://127.0.0.1:9", kind, "m"))
    for messages, resumable in ((begun, False), (begun[:1], True)):
        request = LegRequest("x", Endpoint.CHAT, {"messages": messages, "max_tokens": 9}, stream=True)
        assert bool(engine.can_resume(request)) is resumable
    await engine.close()
