"""Generations over a real socket, against a server that does as it is told."""

import asyncio

import pytest

from gateway.engines.wire import Connection
from gateway.errors import EngineFailed
from tests.engines.asking import ask, engine, idle
from tests.engines.scripted import CHUNK, DONE, LAST, Server, answering, chunked, scripted, sized
from tests.support.ports import unused_port
from tests.support.waiting import eventually

ANSWER = b'{"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
STREAM = chunked(CHUNK, CHUNK + LAST, DONE)


async def test_a_stream_and_a_connection_that_is_used_again() -> None:
    """Chunked, with a length, whole answers and errors: one connection for all."""
    responses = [STREAM, sized(ANSWER), sized(b"{}", 500), sized(CHUNK + LAST + DONE, kind="text/event-stream"), STREAM]
    async with scripted(answering(*responses)) as server, engine(server.url, api_key="secret") as made:
        for number, stream in enumerate([True, False, True, True, True]):
            _, sink = await ask(made, stream=stream, name=f"leg-{number}")
            error = await sink.ended()
            assert isinstance(error, EngineFailed) is (number == 2)
            if stream and error is None:
                assert sink.data.endswith(CHUNK + LAST)
                assert sink.tokens == sink.data.count(b"data:")
            await idle(made)

        assert server.connections == 1
        for number, request in enumerate(server.requests):
            assert request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:")
            assert b"x-request-id: leg-%d\r\n" % number in request
            assert b"authorization: Bearer secret\r\n" in request


async def test_a_stale_connection_is_replaced_once() -> None:
    """The engine closed it as the request came: sent again on a fresh one. A fresh one that breaks is a failure."""

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections == 1:
            await answering(STREAM)(server, reader, writer)  # reads the second request and closes
        elif server.connections == 2:
            await answering(STREAM)(server, reader, writer)
        else:
            await server.request(reader)

    async with scripted(script) as server, engine(server.url) as made:
        for connections in (1, 2):
            _, sink = await ask(made)
            assert await sink.ended() is None
            assert server.connections == connections
            await idle(made)
        _, sink = await ask(made)  # stale again, and the fresh one is closed in silence
        error = await sink.ended()

        assert isinstance(error, EngineFailed)
        assert server.connections == 3
        assert len(server.requests) == 5


async def test_a_request_that_is_sent_again_is_still_paused() -> None:
    """Nothing is read of the fresh connection before the reader wants it."""
    async with scripted(answering(STREAM)) as server, engine(server.url) as made:
        await (await ask(made))[1].ended()
        await idle(made)
        leg, sink = await ask(made)
        connect = made._channel.connection

        async def pausing(*, fresh: bool = False) -> Connection:
            leg.pause_reading()
            return await connect(fresh=fresh)

        made._channel.connection = pausing  # type: ignore[method-assign]
        await eventually(lambda: len(server.requests) == 3)
        await asyncio.sleep(0.1)
        assert sink.tokens == 0
        leg.resume_reading()

        assert await sink.ended() is None
        assert sink.tokens == 3


async def test_a_body_may_end_with_its_connection() -> None:
    """Where no length is promised; where one is, that is a break."""
    until_end = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + ANSWER
    async with scripted(answering(until_end, then_close=True)) as server, engine(server.url) as made:
        _, sink = await ask(made, stream=False)
        assert await sink.ended() is None
        assert sink.answer == ANSWER
        assert made._channel._idle == []
    async with scripted(answering(sized(ANSWER)[:-5], then_close=True)) as server, engine(server.url) as made:
        _, sink = await ask(made, stream=False)
        assert isinstance(await sink.ended(), EngineFailed)


async def test_an_engine_that_is_not_there() -> None:
    """Known at once, or after the connect timeout."""
    async with engine(f"http://127.0.0.1:{unused_port()}") as made:
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await ask(made)


async def test_an_abort_closes_the_connection_and_nothing_more_is_heard() -> None:
    """In the middle of a stream; a second abort does nothing."""
    async with scripted(answering(chunked(CHUNK, end=False))) as server, engine(server.url) as made:
        leg, sink = await ask(made)
        await eventually(lambda: sink.tokens == 1)
        leg.abort()
        leg.abort()
        await eventually(lambda: server.lost == 1)

        assert not sink.over.done()
        assert made._channel._open == set()


async def test_reading_pauses_and_goes_on_in_one_gulp() -> None:
    """What comes meanwhile stays in the kernel and is then taken in few reads."""
    gulp = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(chunked(CHUNK, end=False))
        await gulp.wait()
        for _ in range(200):
            writer.write(chunked(CHUNK, end=False).partition(b"\r\n\r\n")[2])
            await writer.drain()
        writer.write(chunked(LAST, DONE).partition(b"\r\n\r\n")[2])
        server.lost = -1  # everything is sent
        await server.request(reader)

    async with scripted(script) as server, engine(server.url) as made:
        leg, sink = await ask(made)
        await eventually(lambda: sink.tokens == 1)
        leg.pause_reading()
        gulp.set()
        await eventually(lambda: server.lost == -1)
        assert sink.tokens == 1
        reads, events = 0, sink.events

        def counted(data: bytes, tokens: int) -> None:
            nonlocal reads
            reads += 1
            events(data, tokens)

        sink.events = counted  # type: ignore[method-assign]
        leg.resume_reading()
        assert await sink.ended() is None

        assert sink.tokens == 202
        assert reads <= 10


async def test_an_end_that_is_late_does_not_hold_the_client() -> None:
    """[DONE] ends the leg; the connection is kept if the body then ends, and dropped if it does not."""
    late = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(chunked(LAST, DONE, end=False))
        await late.wait()
        writer.write(b"0\r\n\r\n")
        await server.request(reader)

    async with scripted(script) as server, engine(server.url) as made:
        _, sink = await ask(made)
        assert await sink.ended() is None
        assert made._channel._idle == []
        late.set()
        await idle(made)
        assert server.connections == 1


async def test_an_idle_connection_that_speaks_is_dropped() -> None:
    """An answer to nothing must not become the answer to the next request."""
    speak = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections == 2:
            await answering(sized(ANSWER))(server, reader, writer)
            return
        await server.request(reader)
        writer.write(STREAM)
        await speak.wait()
        writer.write(sized(b'{"not":"yours"}'))
        await server.request(reader)

    async with scripted(script) as server, engine(server.url) as made:
        _, sink = await ask(made)
        assert await sink.ended() is None
        await idle(made)
        speak.set()
        await eventually(lambda: not made._channel._open)
        _, sink = await ask(made, stream=False)

        assert await sink.ended() is None
        assert (sink.answer, server.connections) == (ANSWER, 2)
