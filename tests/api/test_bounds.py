"""What a connection may take before its request is whole: bytes, time; and HTTP that is not quite HTTP/1.1."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.api.bounds import MAX_HEAD_BYTES
from gateway.api.server import TokenProtocol
from tests.api.asking import CHAT, chat
from tests.api.conftest import House
from tests.api.test_leaving import connect, head, logged
from tests.support.raw import Sse
from tests.support.servers import Emulators, Gateways

LIMIT_S = 10.0


def parsed(raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, body of one response."""
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def code_of(body: bytes) -> Any:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["code"]


async def exchange(house: House, *parts: bytes) -> bytes:
    """Send, and read to the connection's end."""
    reader, writer = await connect(house.gateway)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), LIMIT_S)
    finally:
        writer.transport.abort()


# ---- bytes


@pytest.mark.parametrize("kilobytes", [70, 300, 3000])
async def test_a_large_head_is_refused(house: House, kilobytes: int) -> None:
    """Whole or not, before any key is looked at; the client can read why."""
    lines = b"".join(b"x-%d: %b\r\n" % (i, b"a" * 1000) for i in range(kilobytes))
    unfinished = (lines, b"x-one: " + b"a" * 1000 * kilobytes) if kilobytes > 256 else ()  # more than one read
    for raw in (lines + b"\r\n", *unfinished):
        status, headers, body = parsed(await exchange(house, b"GET /healthz HTTP/1.1\r\nhost: x\r\n", raw))
        assert (status, code_of(body), headers["connection"]) == (431, "headers_too_large", "close")


async def test_a_head_below_the_bound_is_read(house: House) -> None:
    """In many parts."""
    line = b"x-a: " + b"a" * 900 + b"\r\n"
    count = MAX_HEAD_BYTES // len(line) - 2
    parts = [b"GET /healthz HTTP/1.1\r\nconnection: close\r\nhost: x\r\n", *[line] * count, b"\r\n"]

    assert parsed(await exchange(house, *parts))[0] == 200


async def test_trailers_are_bounded(house: House) -> None:
    """They come after the head, and are kept by nobody."""
    top = head(house.gateway, "trailers", "transfer-encoding: chunked")
    status, _, body = parsed(await exchange(house, top, b"2\r\n{}\r\n0\r\n", b"x-a: " + b"a" * 1_000_000))

    assert (status, code_of(body)) == (431, "headers_too_large")
    (entry,) = await logged(house.gateway, "trailers")
    assert (entry["event"], entry["status"]) == ("request", 431)


# ---- time


class Hasty(TokenProtocol):
    head_s = 0.3
    body_s = 0.3


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads its body; /slow takes its time."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"yes"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server in this process that waits for nobody."""
    config = uvicorn.Config(application, port=0, http=Hasty, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(asyncio.CancelledError))
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        yield server.servers[0].sockets[0].getsockname()[1]
        await server.shutdown()


async def said_to(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Everything that it answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    try:
        return await asyncio.wait_for(reader.read(), LIMIT_S)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "raw", [b"G", b"GET / HTTP/1.1\r\nhost: x\r\n", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"]
)
async def test_a_request_that_does_not_come(port: int, raw: bytes) -> None:
    """In its head, in its body: 408."""
    status, headers, body = parsed(await said_to(port, raw))

    assert (status, code_of(body), headers["connection"]) == (408, "request_timeout", "close")


@pytest.mark.parametrize("raw", [b"", b"\r\n"])
async def test_a_connection_without_a_request(port: int, raw: bytes) -> None:
    """Closed without a word: a browser may open one ahead, and would take it for an answer."""
    assert await said_to(port, raw) == b""


async def test_a_head_in_drops(port: int) -> None:
    """Bytes buy a head no time."""
    drops = [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 8]

    assert parsed(await said_to(port, *drops, pause_s=0.08))[0] == 408


async def test_a_slow_body_has_its_time(port: int) -> None:
    """As long as some of it comes; and a slow answer too."""
    top = b"POST /slow HTTP/1.1\r\nconnection: close\r\ncontent-length: 8\r\n\r\n"
    status, _, body = parsed(await said_to(port, top, *[b"x"] * 8, pause_s=0.15))

    assert (status, b"yes" in body) == (200, True)


async def test_half_a_second_request_leaves_the_first_alone(port: int) -> None:
    """No 408 in its answer, but after it."""
    raw = await said_to(port, b"GET /slow HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n")
    first, _, rest = raw.partition(b"0\r\n\r\n")

    assert parsed(first)[0] == 200
    assert rest == b"" or parsed(rest)[0] == 408


async def test_half_a_body_does_not_hold_up_the_end(emulator: Emulators, gateway: Gateways) -> None:
    """SIGTERM ends the gateway at once, without a complaint."""
    served = gateway([emulator()])
    reader, writer = await connect(served)
    writer.write(head(served, "half", "content-length: 100") + b"{")
    await writer.drain()
    await asyncio.sleep(0.1)
    status = await asyncio.to_thread(served.process.stop, 3.0)
    writer.transport.abort()

    assert status == 0
    (entry,) = await logged(served, "half")
    assert (entry["event"], entry["status"]) == ("request", 499)
    assert '"level":"error"' not in served.process.output()
    assert await reader.read() == b""


# ---- HTTP/1.0, upgrades, pipelines


@pytest.mark.parametrize("stream", [False, True])
async def test_http_1_0_gets_no_chunks(house: House, stream: bool) -> None:
    """Raw, up to the connection's end."""
    asked = json.dumps(chat(stream=stream)).encode()
    top = head(house.gateway, "old", f"content-length: {len(asked)}").replace(b"HTTP/1.1", b"HTTP/1.0")
    status, headers, body = parsed(await exchange(house, top + asked))

    assert (status, headers["connection"], "transfer-encoding" in headers) == (200, "close", False)
    if stream:
        assert Sse.read(body).done
    else:
        assert json.loads(body)["choices"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("together", [False, True])
async def test_an_offer_to_upgrade_is_ignored(house: House, protocol: str, together: bool) -> None:
    """Java's client makes one with every request; the body must not be lost by it."""
    asked = json.dumps(chat()).encode()
    offer = (f"upgrade: {protocol}", "http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    lines = ("connection: Upgrade, HTTP2-Settings, close", *offer, f"content-length: {len(asked)}")
    top = head(house.gateway, "upgrade", *lines)
    parts = (top + asked,) if together else (top, asked[:9], asked[9:])
    status, headers, body = parsed(await exchange(house, *parts))

    assert (status, headers["x-request-id"]) == (200, "upgrade")
    assert json.loads(body)["choices"]


async def test_connect_is_refused(house: House) -> None:
    """Nothing is tunnelled."""
    status, _, _ = parsed(await exchange(house, b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\nmore"))

    assert status in {400, 404, 405}


async def test_leaving_with_a_second_request_behind_the_first(house: House) -> None:
    """Quiet: every line of the log is an ordinary one."""
    asked = json.dumps(chat(stream=True, emulator_faults={"slow_first_token_s": 5})).encode()
    for request_id, asked_path in (("pipelined", CHAT), ("pipelined-body", "/v1/completions")):
        _, writer = await connect(house.gateway)
        top = head(house.gateway, request_id, f"content-length: {len(asked)}").replace(
            CHAT.encode(), asked_path.encode()
        )
        writer.write(top + asked + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await logged(house.gateway, request_id)
    await asyncio.sleep(0.2)

    assert "ASGI" not in house.gateway.process.output()
    assert "Traceback" not in house.gateway.process.output()
