"""The vLLM adapter against the emulator: facts, exact lengths, token ids, and what it makes of oddities."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from gateway.engines.base import Endpoint, EngineSettings, LegRequest
from gateway.engines.transcript import Transcript
from gateway.engines.vllm import VllmEngine, _gauges
from gateway.errors import EngineFailed
from tests.engines.scripted import Server, Sink, answering, scripted, sized
from tests.support.servers import MODEL, Emulators, Engine

HI = [{"role": "user", "content": "Tell me about the river."}]


@pytest.fixture(scope="module")
def emulated() -> Iterator[Engine]:
    with ExitStack() as stack:
        yield Emulators(stack)("--kv-tokens", "65536", "--max-model-len", "4096")


@pytest.fixture
async def vllm(emulated: Engine) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(EngineSettings("e", emulated.url, "vllm", MODEL))
    yield engine
    await engine.close()


async def test_the_probe_reads_the_engine_s_facts(vllm: VllmEngine) -> None:
    """Models, context, memory, load."""
    facts = await vllm.probe()

    assert (facts.models, facts.context_tokens, facts.kv_tokens) == ((MODEL,), 4096, 65536)
    assert (facts.running, facts.waiting, facts.kv_usage) == (0, 0, 0.0)


async def test_an_engine_that_serves_something_else_is_not_well(emulated: Engine) -> None:
    """Nor one that does not answer."""
    for url, model in ((emulated.url, "other"), ("http://127.0.0.1:9", MODEL)):
        engine = VllmEngine(EngineSettings("e", url, "vllm", model))
        with pytest.raises(EngineFailed):
            await engine.probe()
        await engine.close()


async def test_lengths_are_the_engine_s_own(vllm: VllmEngine) -> None:
    """What is counted is what the engine then reports as the prompt; what it refuses to count is None."""
    for endpoint, body in ((Endpoint.CHAT, {"messages": HI}), (Endpoint.COMPLETIONS, {"prompt": "The river 川"})):
        sink = Sink()
        await vllm.start(LegRequest("t", endpoint, {**body, "max_tokens": 2}, stream=False), sink)
        assert await sink.ended() is None
        assert sink.usage is not None
        assert await vllm.tokenize(endpoint, {**body, "stream": True}) == sink.usage.prompt_tokens

    assert await vllm.tokenize(Endpoint.COMPLETIONS, {}) is None


@pytest.mark.parametrize("shown", [True, False])
async def test_token_ids_are_asked_for_and_shown_to_who_asked(vllm: VllmEngine, shown: bool) -> None:
    """Counting by ids is exact; the client sees them only if it wanted them."""
    sink = Sink()
    body = {"messages": HI, "max_tokens": 30, "ignore_eos": True, "temperature": 0, "stream": True}
    request = LegRequest("t", Endpoint.CHAT, body, stream=True, include_token_ids=shown)
    await vllm.start(request, sink)

    assert await sink.ended() is None
    assert sink.tokens == 30
    assert (b"token_ids" in sink.data) is shown
    assert sink.usage is not None
    assert sink.usage.completion_tokens == 30
    assert b'"usage":{' not in sink.data
    for line in sink.data.decode().split("\n\n")[:-1]:
        json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("asked", [True, False])
async def test_the_rank_goes_to_who_schedules_by_it(asked: bool) -> None:
    """With the first leg and with every later one; others see no such field."""
    transcript = Transcript(tokens=1)
    transcript.prompt([1, 2])
    transcript.token_ids.append(3)
    body = {"messages": HI, "max_tokens": 9, "stream": True}
    request = LegRequest("t", Endpoint.CHAT, body, stream=True, priority=7)
    async with scripted(answering(sized(b"{}", 400), sized(b"{}", 400))) as server:
        engine = VllmEngine(EngineSettings("e", server.url, "vllm", MODEL, priority=asked))
        for each in (request, replace(request, transcript=transcript)):
            sink = Sink()
            await engine.start(each, sink)
            await sink.ended()
        await engine.close()
    sent = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in server.requests]
    assert [each.get("priority") for each in sent] == ([7, 7] if asked else [None, None])
    assert sent[1]["prompt"] == [1, 2, 3]


PAGES = {
    "/health": b"",
    "/v1/models": json.dumps({"data": [{"id": "m"}]}).encode(),
    "/metrics": b"vllm:num_requests_running 3\nvllm:num_requests_waiting 1\n",
    "/tokenize": b'{"count":5}',
    "/version": b'{"version":"0.33.1"}',
}


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/v1/models", b'{"data":null}'),
        ("/v1/models", b'{"data":{}}'),
        ("/v1/models", b'{"data":[null,5,{"id":null}]}'),
        ("/v1/models", b"[]"),
        ("/v1/models", b"\xff"),
        ("/metrics", b"vllm:num_requests_running NaN\n"),
        ("/metrics", b"vllm:num_requests_running +Inf\n"),
        ("/version", b"[]"),
        ("/version", b'{"version":3}'),
        ("/metrics", b"{{{"),
        ("/metrics", b'vllm:cache_config_info{num_gpu_blocks="\xc2\xb2",block_size="16"} 1\n'),
    ],
)
async def test_a_probe_that_makes_no_sense(path: str, page: bytes) -> None:
    """Facts without the odd ones, or EngineFailed; nothing else may come of it."""

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked = head.split()[1].decode()
                writer.write(sized(page if asked == path else PAGES[asked]))

    async with scripted(script) as server:
        engine = VllmEngine(EngineSettings("e", server.url, "vllm", "m"))
        try:
            facts = await engine.probe()
        except EngineFailed:
            facts = None
        finally:
            await engine.close()

    assert facts is None or (facts.models, facts.running) in ((("m",), 3), (("m",), None))


def test_figures_are_summed_over_ranks_and_not_over_reasons() -> None:
    """A server of two ranks tells each figure twice; the waiting by reason are waiting already."""
    text = "\n".join(
        [
            'vllm:num_requests_running{engine="0"} 3',
            'vllm:num_requests_running{engine="1"} 4',
            'vllm:num_requests_waiting{engine="0"} 1',
            'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 1',
            'vllm:cache_config_info{block_size="16",num_gpu_blocks="512",engine="0"} 1',
        ]
    )

    figures = _gauges(text + "\n")
    assert (figures["vllm:num_requests_running"], figures["vllm:num_requests_waiting"]) == (7.0, 1.0)
    assert figures["num_gpu_blocks"] * figures["block_size"] == 8192
