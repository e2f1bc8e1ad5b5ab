"""SIGTERM while people read: ready no more, everybody finishes or hears why not, status 0."""

import asyncio
import signal

import pytest

from tests.support.raw import Clients, Json, Raw, Sse
from tests.support.servers import Emulators, Gateway, Gateways
from tests.support.waiting import eventually

STREAMS = 50
TOKENS = 60
PROBLEM = 5.0
"""Seconds by which the end may be late on a busy machine."""


def request(tokens: int) -> Json:
    return {
        "messages": [{"role": "user", "content": "Tell me about the river."}],
        "temperature": 0,
        "ignore_eos": True,
        "max_tokens": tokens,
        "stream": True,
        "return_token_ids": True,
    }


async def begin(
    clients: Clients, emulator: Emulators, gateway: Gateways, *, tokens: int, drain_s: float
) -> tuple[Gateway, list[Raw]]:
    """A gateway with 50 streams that have all begun; an iteration of the engine takes about 35 ms."""
    engine = await asyncio.to_thread(emulator, profile="a100x4-66b", speed=2.0)
    served = await asyncio.to_thread(gateway, [engine], server={"drain_s": drain_s})
    streams = await asyncio.gather(*(clients(served, request(tokens)) for _ in range(STREAMS)))
    return served, list(streams)


async def read(stream: Raw, seen: bytes) -> Sse:
    """The whole stream, of which the beginning has been read."""
    return Sse.read(seen + await stream.body())


async def unready(served: Gateway) -> None:
    """The gateway tells who asks that it is going, while it still serves."""
    async with served.client() as http:
        await eventually(lambda: _says_503(http, "GET", "/readyz"))
        refused = await http.post("/v1/chat/completions", json={**request(5), "model": "andante-emulated"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "draining"
    assert int(refused.headers["retry-after"]) >= 1


async def _says_503(http: object, method: str, path: str) -> bool:
    answer = await http.request(method, path)  # type: ignore[attr-defined]
    return bool(answer.status_code == 503)


async def test_fifty_streams_end_cleanly(clients: Clients, emulator: Emulators, gateway: Gateways) -> None:
    """All of them come to their own end, and only then the gateway does."""
    served, streams = await begin(clients, emulator, gateway, tokens=TOKENS, drain_s=30.0)
    seen = await asyncio.gather(*(stream.until(3) for stream in streams))
    served.process.signal(signal.SIGTERM)
    ends = asyncio.gather(*(read(stream, begun) for stream, begun in zip(streams, seen, strict=True)))
    await unready(served)

    for sse in await ends:
        assert (sse.done, sse.error, len(sse.ids)) == (True, None, TOKENS)
    assert await asyncio.to_thread(served.process.wait, PROBLEM) == 0


@pytest.mark.parametrize("hurried", [False, True], ids=["timeout", "second-signal"])
async def test_who_cannot_finish_hears_why(
    clients: Clients, emulator: Emulators, gateway: Gateways, hurried: bool
) -> None:
    """At the end of the patience, or of the operator's: an error event, a proper end of the body, status 0."""
    served, streams = await begin(clients, emulator, gateway, tokens=1500, drain_s=60.0 if hurried else 1.0)
    seen = await asyncio.gather(*(stream.until(3) for stream in streams))
    ends = asyncio.gather(*(read(stream, begun) for stream, begun in zip(streams, seen, strict=True)))
    served.process.signal(signal.SIGTERM)
    if hurried:
        await unready(served)
        served.process.signal(signal.SIGTERM)

    for sse in await asyncio.wait_for(ends, 1.0 + PROBLEM):
        assert not sse.done
        assert sse.error is not None
        assert sse.error["code"] == "draining"
        assert len(sse.ids) >= 3
    assert await asyncio.to_thread(served.process.wait, PROBLEM) == 0


async def test_an_idle_gateway_ends_at_once(gateway: Gateways, emulator: Emulators) -> None:
    """Nobody to wait for, not even for an open connection that is idle."""
    engine = await asyncio.to_thread(emulator)
    served = await asyncio.to_thread(gateway, [engine])
    async with served.client() as http:
        assert (await http.get("/readyz")).status_code == 200
        served.process.signal(signal.SIGTERM)

        assert await asyncio.to_thread(served.process.wait, PROBLEM) == 0
