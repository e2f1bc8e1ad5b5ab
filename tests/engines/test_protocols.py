"""The adapters for SGLang, TGI and llama.cpp, against servers that speak their protocols as documented."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.engines.base import Endpoint, EngineSettings, LegRequest, ResumeLevel
from gateway.engines.llamacpp import LlamaCppEngine
from gateway.engines.openai import OpenAIEngine
from gateway.engines.sglang import SglangEngine
from gateway.engines.tgi import TgiEngine
from gateway.engines.transcript import Transcript
from gateway.errors import EngineFailed, EngineUnreachable
from tests.engines.protocols import ENCODE, LANGUAGE, Json, chat_ids, event, openai_stream, pieces, serving
from tests.engines.scripted import Sink
from tests.engines.test_continuing import run
from tests.support.ports import unused_port
from tests.support.waiting import eventually

MODEL = "m"
# The rendered prompt ends where the language has a usual beginning, so that text is cut as it was made.
CHAT: Json = {"messages": [{"role": "user", "content": "Tell me about the river."}], "max_tokens": 50, "temperature": 0}
TEXT: Json = {"prompt": "Tell me about the river.", "max_tokens": 50, "temperature": 0}
MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "max_model_len": 4096}]}).encode()
CUTS = ([1], [7, 8], [12, 30], [40])


def settings(kind: str, url: str) -> EngineSettings:
    return EngineSettings("e", url, kind, MODEL)


@asynccontextmanager
async def adapter(engine: Any) -> AsyncIterator[Any]:
    """Closed whatever happens."""
    try:
        yield engine
    finally:
        await engine.close()


async def exact(engine: OpenAIEngine, endpoint: Endpoint, body: Json, *keys: str) -> None:
    """Whatever the place of the cut, the client has what an unbroken run gives."""
    whole = (await run([engine], endpoint, body)).said()
    assert whole["text"]
    for cuts in CUTS:
        broken = (await run([engine], endpoint, body, cuts)).said()
        assert {key: broken[key] for key in keys} == {key: whole[key] for key in keys}, cuts


# ---- SGLang


def sglang(path: str, body: Json) -> bytes | list[bytes]:
    match path:
        case "/v1/models":
            return MODELS
        case "/metrics":
            return b"sglang:num_running_reqs 2\nsglang:num_queue_reqs 1\nsglang:max_total_num_tokens 9000\n"
        case "/tokenize":
            return json.dumps({"tokens": ENCODE(body["prompt"]), "count": 0}).encode()
        case "/v1/chat/completions":
            assert "return_token_ids" not in body, "refused in streams"
            begun = body["messages"][-1]["role"] == "assistant"
            assert begun is bool(body.get("continue_final_message"))
            return openai_stream(chat_ids(body, prefill=True), body, chat=True)
        case "/v1/completions":
            prompt = body["prompt"]
            ids = ENCODE(prompt) if isinstance(prompt, str) else prompt
            return openai_stream(ids, body, chat=False, show_ids=body["return_token_ids"])
    return b"{}"


async def test_sglang() -> None:
    """Completions by ids, chats as text; each leg has a name that is no other's beginning, and is stopped by it."""
    async with serving(sglang) as server, adapter(SglangEngine(settings("sglang", server.url))) as engine:
        facts = await engine.probe()
        assert (facts.running, facts.waiting, facts.kv_tokens, facts.context_tokens) == (2, 1, 9000, 4096)
        assert await engine.tokenize(Endpoint.COMPLETIONS, TEXT) == len(ENCODE(TEXT["prompt"]))
        await exact(engine, Endpoint.COMPLETIONS, TEXT, "text", "ids", "finish", "usage")
        await exact(engine, Endpoint.COMPLETIONS, {**TEXT, "stop": ["the "]}, "text", "ids", "finish", "usage")
        await exact(engine, Endpoint.CHAT, CHAT, "text", "finish", "usage")
        for request, level in (
            (LegRequest("x", Endpoint.CHAT, CHAT, stream=True), ResumeLevel.TEXT),
            (LegRequest("x", Endpoint.COMPLETIONS, TEXT, stream=True), ResumeLevel.REPLAY),
            (LegRequest("x", Endpoint.COMPLETIONS, {**TEXT, "repetition_penalty": 1.2}, stream=True), ResumeLevel.NO),
        ):
            assert engine.can_resume(request).level is level
        rids = [body["rid"] for path, body in server.asked if "rid" in body and path != "/abort_request"]
        assert not any(a != b and b.startswith(a) for a in rids for b in rids)
        await eventually(lambda: "/abort_request" in server.paths())
        stopped = {body["rid"] for path, body in server.asked if path == "/abort_request"}
        assert stopped <= set(rids)


async def test_a_completion_whose_ids_sglang_does_not_tell() -> None:
    """An older server, or one behind a proxy: it goes on as text, and does not begin again."""

    def older(path: str, body: Json) -> bytes | list[bytes]:
        if path == "/v1/completions":
            prompt = body["prompt"]
            return openai_stream(ENCODE(prompt) if isinstance(prompt, str) else prompt, body, chat=False)
        return sglang(path, body)

    async with serving(older) as server, adapter(SglangEngine(settings("sglang", server.url))) as engine:
        await engine.probe()
        await exact(engine, Endpoint.COMPLETIONS, TEXT, "text", "finish")


async def test_a_prompt_that_sglang_does_not_count() -> None:
    """Its answer cannot be cut by ids then; it is answered all the same, and the engine is not called down for it."""

    def older(path: str, body: Json) -> bytes | list[bytes]:
        return b'{"error":"no such thing"}' if path == "/tokenize" else sglang(path, body)

    async with serving(older) as server, adapter(SglangEngine(settings("sglang", server.url))) as engine:
        assert (await run([engine], Endpoint.COMPLETIONS, TEXT)).said()["text"]


# ---- TGI


def tgi(path: str, body: Json) -> bytes | list[bytes]:
    match path:
        case "/info":
            return json.dumps({"model_id": MODEL, "max_total_tokens": 2048}).encode()
        case "/metrics":
            return b"tgi_queue_size 3\ntgi_batch_current_size 5\n"
        case "/chat_tokenize":
            text = LANGUAGE.vocabulary.decode(chat_ids(body, prefill=False))
            return json.dumps({"tokenize_response": [], "templated_text": "<s>" + text}).encode()
        case "/v1/chat/completions":
            assert body["messages"][-1]["role"] != "assistant", "its white space would be lost"
            return openai_stream(chat_ids(body, prefill=False), body, chat=True)
        case "/v1/completions":
            assert not body["prompt"].startswith("<s>"), "the server puts one there itself"
            return openai_stream(ENCODE(body["prompt"]), body, chat=False)
    return b"{}"


async def test_tgi() -> None:
    """Everything as text; a chat as a completion of its rendered prompt, without a second begin mark."""
    async with serving(tgi) as server, adapter(TgiEngine(settings("tgi", server.url))) as engine:
        facts = await engine.probe()
        assert (facts.running, facts.waiting, facts.context_tokens, facts.models) == (5, 3, 2048, (MODEL,))
        await exact(engine, Endpoint.CHAT, CHAT, "text", "finish", "usage")
        await exact(engine, Endpoint.COMPLETIONS, TEXT, "text", "finish", "usage")
        async with adapter(TgiEngine(EngineSettings("e", server.url, "tgi", "another"))) as other:
            with pytest.raises(EngineFailed):
                await other.probe()


@pytest.mark.parametrize("answer", [b'{"templated_text": 5}', b"[]", b"nonsense", 404, 500])
async def test_a_tgi_that_does_not_render_the_prompt(answer: bytes | int) -> None:
    """The leg cannot be begun, and says why; only an engine that nobody reaches is called so."""

    def broken(path: str, body: Json) -> bytes | list[bytes] | int:
        return answer if path == "/chat_tokenize" else tgi(path, body)

    transcript = Transcript()
    transcript.add_text("A", 1)
    request = LegRequest("x", Endpoint.CHAT, CHAT, True, transcript=transcript)
    async with serving(broken) as server, adapter(TgiEngine(settings("tgi", server.url))) as engine:
        with pytest.raises(EngineFailed, match="/chat_tokenize") as found:
            await engine.start(request, Sink())
        assert not isinstance(found.value, EngineUnreachable)
    async with adapter(TgiEngine(settings("tgi", f"http://127.0.0.1:{unused_port()}"))) as engine:
        with pytest.raises(EngineUnreachable):
            await engine.start(request, Sink())


# ---- llama.cpp


def llamacpp(path: str, body: Json) -> bytes | list[bytes]:
    match path:
        case "/v1/models":
            return MODELS
        case "/props":
            return json.dumps({"default_generation_settings": {"n_ctx": 1024}}).encode()
        case "/v1/chat/completions":
            return _chat(body)
        case "/v1/completions":
            return openai_stream(ENCODE(body["prompt"]), body, chat=False)
        case "/completion":
            return _native(body)
    return b"{}"


def _chat(body: Json) -> list[bytes]:
    """A message of the assistant that it goes on with comes first once more, in one piece with the first new text."""
    events = openai_stream(chat_ids(body, prefill=True), body, chat=True)
    last = body["messages"][-1]
    if last["role"] != "assistant":
        return events
    head, mark, tail = events[0].partition(b'"content": "')
    return [head + mark + json.dumps(last["content"])[1:-1].encode() + tail, *events[1:]]


def _native(body: Json) -> list[bytes]:
    """Tokens that end inside a character are held back, and their ids are never sent."""
    out = []
    for predicted, (token, text, finish) in enumerate(pieces(body["prompt"], body, "n_predict"), start=1):
        if text:
            out.append({"content": text, "tokens": [token], "stop": False, "tokens_predicted": predicted})
        if finish:
            out.append({"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_predicted": predicted})
    return [event(each) for each in out]


@pytest.mark.parametrize("repeats", [True, False], ids=["repeats the message", "does not"])
async def test_llama_cpp(repeats: bool) -> None:
    """As text where it began; by ids where another kind of engine did, and back again."""

    def of_a_build(path: str, body: Json) -> bytes | list[bytes]:
        if path == "/v1/chat/completions" and not repeats:
            return openai_stream(chat_ids(body, prefill=True), body, chat=True)
        return llamacpp(path, body)

    async with serving(of_a_build) as server, adapter(LlamaCppEngine(settings("llamacpp", server.url))) as engine:
        assert (await engine.probe()).context_tokens == 1024
        await exact(engine, Endpoint.CHAT, CHAT, "text", "finish", "usage")
        await exact(engine, Endpoint.COMPLETIONS, TEXT, "text", "finish", "usage")
        async with serving(sglang) as born, adapter(SglangEngine(settings("sglang", born.url))) as other:
            await other.probe()
            ids = {**TEXT, "prompt": ENCODE(TEXT["prompt"])}
            whole = (await run([other], Endpoint.COMPLETIONS, ids)).said()
            for cuts in ([5], [5, 20], [3, 10, 30]):
                moved = (await run([other, engine], Endpoint.COMPLETIONS, ids, cuts)).said()
                assert moved == whole, cuts
            assert "/completion" in server.paths()


@pytest.mark.parametrize(
    "extra", [{"stop_token_ids": [7]}, {"min_tokens": 9}, {"logprobs": 1}, {"skip_special_tokens": False}]
)
async def test_what_llama_cpp_s_own_call_has_not(extra: Json) -> None:
    """A stream that another kind of engine began stays there if its options would be lost."""
    transcript = Transcript()
    transcript.prompt([1, 2])
    transcript.add_ids([3], 1)
    async with adapter(LlamaCppEngine(settings("llamacpp", "http://127.0.0.1:9"))) as engine:
        for options, resumable in ((extra, False), (dict.fromkeys(extra), True)):
            body = {**TEXT, **options}
            request = LegRequest("x", Endpoint.COMPLETIONS, body, stream=True, transcript=transcript)
            assert bool(engine.can_resume(request)) is resumable


async def test_ids_that_llama_cpp_never_tells() -> None:
    """A token inside a character is skipped: the stream goes on to its end, and is not cut again."""

    def skipping(path: str, body: Json) -> bytes | list[bytes]:
        if path != "/completion":
            return llamacpp(path, body)
        first = {"content": "川", "tokens": [5], "stop": False, "tokens_predicted": 3}
        last = {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "tokens_predicted": 3}
        return [event(first), event(last)]

    async with serving(skipping) as server, adapter(LlamaCppEngine(settings("llamacpp", server.url))) as engine:
        await engine.probe()
        transcript = Transcript(head={"id": "x", "object": "chunk"})
        transcript.prompt([1, 2])
        transcript.add_ids([3], 1)
        request = LegRequest("x", Endpoint.COMPLETIONS, TEXT, True, True, False, transcript)
        sink = _Collect()
        await engine.start(request, sink)
        await eventually(lambda: sink.over)
        assert transcript.broken
        assert not engine.can_resume(request)
        assert sink.error is None


class _Collect:
    """A sink that waits for the end."""

    def __init__(self) -> None:
        self.over = False
        self.error: Exception | None = None

    def events(self, data: bytes, tokens: int) -> None: ...

    def counted(self, usage: Any) -> None: ...

    def completed(self) -> None:
        self.over = True

    def answered(self, body: bytes, usage: Any) -> None: ...

    def failed(self, error: Exception) -> None:
        self.over, self.error = True, error
