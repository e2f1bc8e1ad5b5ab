"""Streams that are cut and go on: whatever the place of the cut, the client's stream is the unbroken one."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.engines.base import Endpoint, EngineSettings, Leg, LegRequest, ResumeLevel, Usage
from gateway.engines.openai import OpenAIEngine
from gateway.engines.transcript import Transcript
from gateway.engines.vllm import VllmEngine
from tests.support.servers import MODEL, Emulators, Engine

Json = dict[str, Any]
ASK: Json = {"messages": [{"role": "user", "content": "Tell me about the river 川 and 👩‍👩‍👧‍👦."}]}
OPTIONS: Json = {"max_tokens": 60, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def emulated() -> Iterator[Engine]:
    with ExitStack() as stack:
        yield Emulators(stack)()


@pytest.fixture
async def vllm(emulated: Engine) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(EngineSettings("e", emulated.url, "vllm", MODEL))
    await engine.probe()
    yield engine
    await engine.close()


@dataclass
class Reader:
    """A client's end over all legs; the leg is cut once `cut_at` tokens are there."""

    cut_at: int | None = None
    data: bytes = b""
    tokens: int = 0
    usage: Usage | None = None
    leg: Leg | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    cut: bool = False
    error: Exception | None = None

    def events(self, data: bytes, tokens: int) -> None:
        assert not self.cut
        self.data += data
        self.tokens += tokens
        if self.cut_at is not None and self.tokens >= self.cut_at:
            self.cut = True
            self.over.set()
            assert self.leg is not None
            self.leg.abort()

    def counted(self, usage: Usage) -> None:
        self.usage = usage

    def completed(self) -> None:
        self.over.set()

    def answered(self, body: bytes, usage: Usage | None) -> None:
        raise AssertionError

    def failed(self, error: Exception) -> None:
        self.error = error
        self.over.set()

    @property
    def chunks(self) -> list[Json]:
        return [json.loads(line[6:]) for line in self.data.decode().split("\n\n") if line]

    def said(self) -> Json:
        """What a client makes of its stream."""
        choices = [choice for chunk in self.chunks for choice in chunk["choices"]]
        deltas = [choice.get("delta", choice) for choice in choices]
        usages = [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]
        return {
            "text": "".join(delta.get("content") or delta.get("text") or "" for delta in deltas),
            "roles": [delta["role"] for delta in deltas if "role" in delta],
            "ids": [token for choice in choices for token in choice.get("token_ids") or ()],
            "finish": [choice["finish_reason"] for choice in choices if choice["finish_reason"]],
            "stop_reason": [choice["stop_reason"] for choice in choices if choice.get("stop_reason")],
            "usage": [(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) for usage in usages],
            "logprobs": _joined([choice["logprobs"] for choice in choices if choice.get("logprobs")]),
            "kinds": {chunk["object"] for chunk in self.chunks},
        }


def _joined(logprobs: list[Json]) -> Json:
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {name: [value for each in logprobs for value in each[name]] for name in names}


class LateLeg:
    """A leg may speak before its handle is known."""

    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    pause_reading = resume_reading = abort


async def run(
    engines: Sequence[OpenAIEngine], endpoint: Endpoint, body: Json, cuts: Sequence[int] = (), *, ids: bool = True
) -> Reader:
    """One stream with cuts after so many tokens, each leg at the next engine."""
    transcript, reader = Transcript(), Reader()
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    first = LegRequest("leg", endpoint, body, True, True, ids, transcript)
    for number, cut in enumerate([*cuts, None]):
        request = replace(first, id=f"leg-{number}-{random.random()}")
        late = LateLeg()
        reader.cut_at, reader.leg, reader.cut = cut, late, False
        reader.over.clear()
        engine = engines[number % len(engines)]
        assert engine.can_resume(request)
        reader.leg = leg = await engine.start(request, reader)
        if late.aborted:
            leg.abort()
        await asyncio.wait_for(reader.over.wait(), 20.0)
        assert reader.error is None
        if not reader.cut:
            break
        assert transcript.broken == ""
    return reader


def body_of(endpoint: Endpoint, **extra: Any) -> Json:
    prompt = ASK if endpoint is Endpoint.CHAT else {"prompt": "The river 川 👩‍👩‍👧‍👦"}
    return {**prompt, **OPTIONS, **extra}


def random_cuts(draw: random.Random, tokens: int) -> list[int]:
    return sorted(draw.sample(range(1, tokens + 2), draw.randint(1, 5)))


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS], ids=["chat", "completions"])
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"temperature": 1.0, "seed": 7, "ignore_eos": False, "max_tokens": 400},
        {"min_tokens": 50, "ignore_eos": False},
        {"stop": ["the ", "water and"], "min_tokens": 20},
        {"stop": [" of"], "include_stop_str_in_output": True, "min_tokens": 3},
        {"stop": "never said at all, whatever it is"},
    ],
    ids=["greedy", "seeded", "min_tokens", "stop", "stop included", "stop unmet"],
)
async def test_a_cut_leaves_no_trace(vllm: VllmEngine, endpoint: Endpoint, extra: Json) -> None:
    """Text, token ids, usage, one role, one finish reason: as without a cut, with one to five at random places."""
    body = body_of(endpoint, **extra)
    whole = (await run([vllm], endpoint, body)).said()
    draw = random.Random(1)
    for _ in range(12):
        cuts = random_cuts(draw, len(whole["ids"]))
        broken = await run([vllm], endpoint, body, cuts)
        assert broken.said() == whole, cuts
        assert len({chunk["id"] for chunk in broken.chunks}) == 1
    assert whole["usage"][0][1] == len(whole["ids"])
    assert len(whole["finish"]) == 1


async def test_the_unbroken_stream_is_the_engine_s(vllm: VllmEngine) -> None:
    """Keeping a transcript and matching stop strings here changes nothing."""
    for extra in ({}, {"stop": ["the "], "min_tokens": 20}, {"stop": [" of"], "include_stop_str_in_output": True}):
        body = body_of(Endpoint.CHAT, **extra)
        reader = Reader(leg=LateLeg())
        sent = {**body, "stream": True, "stream_options": {"include_usage": True}}
        request = LegRequest("plain", Endpoint.CHAT, sent, stream=True, include_usage=True, include_token_ids=True)
        await vllm.start(request, reader)
        await asyncio.wait_for(reader.over.wait(), 20.0)

        assert (await run([vllm], Endpoint.CHAT, body)).said() == reader.said()


async def test_log_probabilities_are_one_list(vllm: VllmEngine) -> None:
    """A completion's places in the text are counted from the beginning of the answer, whatever leg they come from."""
    body = body_of(Endpoint.COMPLETIONS, logprobs=2)
    whole = (await run([vllm], Endpoint.COMPLETIONS, body)).said()
    assert len(whole["logprobs"]["text_offset"]) == 60
    for cuts in ([1], [20, 21], [59]):
        assert (await run([vllm], Endpoint.COMPLETIONS, body, cuts)).said() == whole


async def test_a_text_is_continued_as_text(emulated: Engine) -> None:
    """A server without token ids gets prompt and answer as one text; no chats, and no stop strings."""
    plain = OpenAIEngine(EngineSettings("p", emulated.url, "openai", MODEL))
    body = body_of(Endpoint.COMPLETIONS, prompt="Tell me about the river.")
    for endpoint, fields in ((Endpoint.CHAT, ASK), (Endpoint.COMPLETIONS, {**body, "stop": "the"})):
        assert plain.can_resume(LegRequest("x", endpoint, fields, stream=True)).level is ResumeLevel.NO
    assert plain.can_resume(LegRequest("x", Endpoint.COMPLETIONS, body, stream=True)).level is ResumeLevel.TEXT
    whole = (await run([plain], Endpoint.COMPLETIONS, body)).said()
    for cuts in ([1], [7, 8], [12, 20], [59]):
        broken = (await run([plain], Endpoint.COMPLETIONS, body, cuts)).said()
        assert [broken[key] for key in ("text", "finish")] == [whole[key] for key in ("text", "finish")]
    await plain.close()


async def test_an_answer_that_lost_its_end_is_whole(vllm: VllmEngine) -> None:
    """All tokens were there, or the finish reason was: nothing is asked of an engine, only the end is told."""
    for cut in (60, 61):
        reader = await run([vllm], Endpoint.CHAT, body_of(Endpoint.CHAT), [cut])
        assert reader.said() == (await run([vllm], Endpoint.CHAT, body_of(Endpoint.CHAT))).said()
