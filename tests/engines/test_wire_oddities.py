"""Answers that are none, or end badly, over a real socket."""

import pytest

from gateway.engines.base import Usage
from gateway.engines.leg import engine_error
from gateway.errors import EngineBusy, EngineError, EngineFailed, EngineRefused
from tests.engines.asking import ask, engine
from tests.engines.scripted import CHUNK, DONE, LAST, answering, chunked, scripted, sized
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    "response",
    [
        chunked(CHUNK, LAST),
        chunked(CHUNK, DONE),
        chunked(CHUNK, LAST, end=False),
        chunked(CHUNK, kind="text/html"),
        sized(b"{}"),
        b"garbage\r\n\r\n",
        b"",
        chunked(CHUNK, b'data: {"error":{"message":"x"}}\n\n', DONE),
        chunked(CHUNK)[:-9] + b"zz\r\nnot a chunk",
    ],
    ids=["no-done", "no-reason", "cut", "html", "json", "no-http", "nothing", "error", "bad-chunk"],
)
async def test_a_stream_that_does_not_end_well(response: bytes) -> None:
    """Never a clean end, and the connection is not used again."""
    async with scripted(answering(response, then_close=True)) as server, engine(server.url) as made:
        _, sink = await ask(made)

        assert isinstance(await sink.ended(), EngineFailed)
        await eventually(lambda: not made._channel._open)
        assert made._channel._idle == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b'{"choices"',
        b"[1]",
        b"{}",
        b'{"error":{"message":"out of memory","code":500}}',
        b'{"object":"error","message":"out of memory","code":50001}',
        b'{"choices":null,"error":"out of memory"}',
    ],
)
async def test_a_whole_answer_that_is_none(body: bytes) -> None:
    """What is not a JSON object is not passed on, nor an error that some servers send with status 200."""
    async with scripted(answering(sized(body))) as server, engine(server.url) as made:
        _, sink = await ask(made, stream=False)

        assert isinstance(await sink.ended(), EngineFailed)


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (b'{"prompt_tokens":3,"completion_tokens":4}', Usage(3, 4)),
        (b'{"prompt_tokens":3.0,"completion_tokens":null}', Usage(3, 0)),
        (b'{"prompt_tokens":null,"completion_tokens":4}', None),
        (b"null", None),
        (b"[]", None),
    ],
)
async def test_odd_usage_spoils_no_whole_answer(told: bytes, seen: Usage | None) -> None:
    """Taken where it is usable."""
    answer = b'{"choices":[],"usage":' + told + b"}"
    async with scripted(answering(sized(answer))) as server, engine(server.url) as made:
        _, sink = await ask(made, stream=False)

        assert await sink.ended() is None
        assert (sink.answer, sink.usage) == (answer, seen)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "param"),
    [
        (400, b'{"error":{"message":"no","type":"T","param":"p"}}', EngineRefused, "no", "p"),
        (422, b'{"message":"no","object":"error"}', EngineRefused, "no", None),
        (413, b'{"error":"no"}', EngineRefused, "no", None),
        (400, b"<html>", EngineRefused, "The engine refused the request.", None),
        (429, b"", EngineBusy, None, None),
        (503, b"", EngineBusy, None, None),
        (500, b"", EngineFailed, None, None),
        (401, b"", EngineFailed, None, None),
        (404, b'{"error":{"message":"no model"}}', EngineFailed, None, None),
        (302, b"", EngineFailed, None, None),
    ],
)
def test_refusals(status: int, body: bytes, kind: type[EngineError], message: str | None, param: str | None) -> None:
    """The client's fault, another engine's chance, or a broken engine."""
    error = engine_error(status, body)

    assert type(error) is kind
    assert message is None or error.message == message
    assert error.param == param
