"""What a stream turns out to be decides whether it can go on, not only what was asked."""

from collections.abc import AsyncIterator

import pytest

from gateway.engines.base import Endpoint, EngineSettings, LegRequest
from gateway.engines.sglang import SglangEngine
from gateway.engines.transcript import Transcript
from gateway.engines.vllm import VllmEngine
from gateway.runtime.course import Course

ASKED = LegRequest("a", Endpoint.CHAT, {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}, stream=True)


def settings(kind: str) -> EngineSettings:
    return EngineSettings("e", "http://127.0.0.1:9", kind, "m")


@pytest.fixture
async def vllm() -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(settings("vllm"))
    yield engine
    await engine.close()


def begun(engine: VllmEngine) -> tuple[Course, Transcript]:
    course = Course(ASKED)
    assert course.begin(engine, 0, 0.0, seen=False)
    assert course.open
    assert course.transcript is not None
    return course, course.transcript


async def test_an_engine_that_does_not_tell_its_ids(vllm: VllmEngine) -> None:
    """Older servers and proxies leave the field out: to pause such a stream would be to lose it."""
    course, transcript = begun(vllm)
    transcript.add_text("Hello", 1)
    assert not course.open


async def test_ids_that_are_told(vllm: VllmEngine) -> None:
    """And those of a server that hides some of what it reasoned."""
    course, transcript = begun(vllm)
    transcript.prompt([1, 2])
    transcript.add_ids([3], 1)
    assert course.open
    transcript.reasoned = True
    assert not course.open


async def test_a_chat_that_reasons_on_an_engine_that_goes_on_with_text() -> None:
    """Neither while it reasons, nor behind that: what it thought is no part of the message."""
    engine = SglangEngine(settings("sglang"))
    course, transcript = begun(engine)
    transcript.add_text("Hm. ", 1)
    transcript.part, transcript.reasoned = "reasoning_content", True
    assert not course.open
    transcript.add_text("Yes.", 1)
    transcript.part = "content"
    assert not course.open
    await engine.close()
