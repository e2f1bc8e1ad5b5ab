"""Each way to misbehave."""

import json
import time
from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.emulator.faults import FaultBook, Faults
from tests.emulator.client import RawRequest, ask, chat, stream
from tests.support.servers import Emulators, Engine
from tests.support.waiting import eventually


@pytest.fixture
async def clean(http: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """A client; what it sets on the shared engine is cleared."""
    yield http
    await http.delete("/emulator/faults")


def faulty(**faults: float) -> dict[str, object]:
    """A request that asks for its own faults."""
    return chat(max_tokens=10, ignore_eos=True, emulator_faults=faults)


@pytest.mark.parametrize("after", [0, 4])
async def test_die_cuts_the_body_in_the_middle(engine: Engine, after: int) -> None:
    """No last chunk, no [DONE]; exactly so many tokens; nothing goes on inside."""
    request = await RawRequest.send(engine, faulty(die_after_tokens=after) | {"stream": True})
    got = await request.read_all()
    await request.leave()

    assert after == got.count(b'"delta":{"content":')
    assert b"[DONE]" not in got
    assert not got.endswith(b"0\r\n\r\n")
    assert engine.running() == 0


async def test_die_cuts_whole_answers_too(http: httpx2.AsyncClient) -> None:
    """Half a body, then nothing."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await http.post("/v1/chat/completions", json=faulty(die_after_tokens=3))


async def test_error_is_told_as_vllm_tells_it(http: httpx2.AsyncClient) -> None:
    """In a stream as data before [DONE], otherwise as a 500."""
    got = await stream(http, faulty(error_after_tokens=2))
    assert got.done
    assert len(got.content()) == 2
    assert got.chunks[-1]["error"]["code"] == 500

    answer = await http.post("/v1/chat/completions", json=faulty(error_after_tokens=2))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, 500)


async def test_garbage_is_not_json(http: httpx2.AsyncClient) -> None:
    """Data lines that no parser takes, after good ones."""
    answer = await http.post("/v1/chat/completions", json=faulty(garbage_after_tokens=3) | {"stream": True})
    lines = [line for line in answer.content.split(b"\n\n") if line]

    assert all(json.loads(line.removeprefix(b"data: ")) for line in lines[:4])
    assert sum(b'"id": "chatcmpl-\xff' in line for line in lines) == 7
    assert (
        b'"choices": [{"ind' in (await http.post("/v1/chat/completions", json=faulty(garbage_after_tokens=3))).content
    )


async def test_a_slow_first_token_delays_the_text_not_the_headers(http: httpx2.AsyncClient) -> None:
    """Held back for so long."""
    began = time.monotonic()
    body = faulty(slow_first_token_s=0.3) | {"stream": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        headers = time.monotonic() - began
        text = await answer.aread()

    assert headers < 0.25
    assert time.monotonic() - began >= 0.3
    assert text.endswith(b"data: [DONE]\n\n")


async def test_a_stall_is_silence_on_an_open_connection(engine: Engine) -> None:
    """So many tokens, then nothing, until the client leaves; that counts as an abort."""
    before = engine.metrics().value("emulator:aborted_requests_total")
    request = await RawRequest.send(engine, faulty(stall_after_tokens=3) | {"stream": True})
    await eventually(lambda: engine.running() == 0)
    got = b""
    for _ in range(3):
        got += await request.read_until(b'"delta":{"content":')
    assert b"[DONE]" not in got
    await request.leave()
    await eventually(lambda: engine.metrics().value("emulator:aborted_requests_total") == before + 1)


async def test_a_stall_may_end(http: httpx2.AsyncClient) -> None:
    """After stall_s everything comes."""
    assert len((await stream(http, faulty(stall_after_tokens=3, stall_s=0.1))).content()) == 10


async def test_refusals_for_the_next_requests(clean: httpx2.AsyncClient) -> None:
    """Set at run time with a count, shown, used up, cleared."""
    shown = (await clean.post("/emulator/faults", json={"status": 503, "count": 2})).json()
    assert (shown["status"], shown["count_left"]) == (503, 2)

    statuses = [(await clean.post("/v1/chat/completions", json=chat(max_tokens=1))).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert (await clean.get("/emulator/faults")).json()["count_left"] == 0
    assert (await clean.delete("/emulator/faults")).json()["status"] is None


async def test_health_can_be_told_to_fail(clean: httpx2.AsyncClient) -> None:
    """While requests are answered."""
    await clean.post("/emulator/faults", json={"health_status": 500})

    assert (await clean.get("/health")).status_code == 500
    assert (await ask(clean, chat(max_tokens=1)))["choices"]


def test_a_share_of_requests_is_drawn_by_seed() -> None:
    """The same seed draws the same requests; one's own faults are always had."""
    faults = Faults(status=500, share=0.3, seed=4)
    hits = [FaultBook(faults).draw().status]
    book, again = FaultBook(faults), FaultBook(faults)
    hits = [book.draw().status for _ in range(1000)]

    assert hits == [again.draw().status for _ in range(1000)]
    assert 250 < hits.count(500) < 350
    assert book.draw(Faults(status=429)).status == 429


async def test_exit_ends_the_process_in_the_middle(emulator: Emulators) -> None:
    """By flag: after so many tokens the whole engine is gone."""
    doomed = emulator("--exit-after-tokens", "3")
    request = await RawRequest.send(doomed, chat(stream=True, max_tokens=50, ignore_eos=True))
    body = await request.read_all()
    await request.leave()

    assert body.count(b'"delta":{"content":') == 3
    assert b"[DONE]" not in body
    assert doomed.process.wait() == 70
