"""Whoever leaves is noticed: waiting, in prefill, in decode; streams and whole answers."""

import asyncio
import time

import pytest

from tests.emulator.client import RawRequest, chat
from tests.support.servers import Emulators, Engine
from tests.support.waiting import eventually

LONG = {"ignore_eos": True, "max_tokens": 5000}


def aborted(engine: Engine) -> float:
    return engine.metrics().value("emulator:aborted_requests_total")


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_leaving_ends_the_generation(engine: Engine, streamed: bool) -> None:
    """In decode: the sequence and its memory are gone at once."""
    before = aborted(engine)
    request = await RawRequest.send(engine, chat(stream=streamed, **LONG))
    generated = engine.generated()
    await eventually(lambda: engine.generated() > generated)
    assert engine.running() == 1

    left = time.monotonic()
    await request.leave()
    await eventually(lambda: engine.running() == 0, interval=0.002)
    seconds = time.monotonic() - left

    assert before + 1 == aborted(engine)
    assert engine.metrics().value("vllm:kv_cache_usage_perc") == 0
    assert seconds < 0.5


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
async def test_leaving_the_queue_or_a_prefill(emulator: Emulators, streamed: bool) -> None:
    """On an engine whose prefill takes minutes and that has room for one."""
    slow = emulator("--max-num-seqs", "1", profile="a10g-7b", speed=0.001)
    prefill = await RawRequest.send(slow, chat(stream=streamed))
    await eventually(lambda: slow.running() == 1)
    queued = await RawRequest.send(slow, chat(stream=streamed))
    await queued.leave()
    await eventually(lambda: aborted(slow) == 1)
    assert (slow.running(), slow.waiting()) == (1, 0)

    await prefill.leave()
    await eventually(lambda: slow.running() == 0)
    assert aborted(slow) == 2


async def test_the_engines_own_queue_is_measured(emulator: Emulators) -> None:
    """The largest number that ever waited; those who could run at once do not count."""
    engine = emulator("--max-num-seqs", "2")
    requests = [await RawRequest.send(engine, chat(stream=True, **LONG)) for _ in range(5)]
    await eventually(lambda: engine.waiting() == 3)
    assert engine.metrics().value("emulator:max_waiting") == 3
    await asyncio.gather(*(request.leave() for request in requests))
    await eventually(lambda: (engine.running(), engine.waiting()) == (0, 0))


async def test_a_reader_who_stops_reading_is_not_aborted(engine: Engine) -> None:
    """As in vLLM: the answer is generated to its end."""
    generated = engine.generated()
    request = await RawRequest.send(engine, chat(stream=True, ignore_eos=True, max_tokens=300))
    await eventually(lambda: engine.generated() == generated + 300)
    body = await request.read_until(b"data: [DONE]\n\n")
    await request.leave()

    assert body.count(b'"delta":{"content":') == 300


async def test_memory_pressure_preempts_without_a_trace_in_the_text(emulator: Emulators) -> None:
    """Small memory, many streams: the same texts as alone."""
    small = emulator("--kv-tokens", "800", "--no-prefix-cache")
    body = chat(stream=True, ignore_eos=True, max_tokens=150)
    requests = [await RawRequest.send(small, body) for _ in range(8)]
    bodies = [await request.read_until(b"data: [DONE]\n\n") for request in requests]
    for request in requests:
        await request.leave()

    assert small.metrics().value("vllm:num_preemptions_total") > 0
    assert {150} == {body.count(b'"delta":{"content":') for body in bodies}
