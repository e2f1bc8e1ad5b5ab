"""Readers whose connection is cut and who come back: nothing lost, nothing twice, no engine kept busy meanwhile."""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from gateway.stores.base import NewKey
from tests.support.raw import CHAT, Clients
from tests.support.servers import MODEL, Emulators, Gateway, Gateways, create_key
from tests.support.waiting import eventually

STREAMS = int(os.environ.get("TEST_COMING_BACK_STREAMS", "30"))
AT_ONCE = 25
OPT_IN = {"x-stream-resumable": "1"}
Json = dict[str, Any]


def ask(number: int, **extra: Any) -> Json:
    content = f"{number}: the river 川 and 👩‍👩‍👧‍👦."
    options: Json = {"temperature": 0, "ignore_eos": True, "max_tokens": 60, "stream": True}
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **options, **extra}


@dataclass
class Heard:
    """What a reader has of a stream: data events by their numbers, states, how it ended."""

    stream_id: str = ""
    data: list[str] = field(default_factory=list)
    last: int = 0
    states: list[Json] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return bool(self.data) and self.data[-1] == "[DONE]"

    @property
    def choices(self) -> list[Json]:
        chunks = [json.loads(each) for each in self.data if each != "[DONE]"]
        return [choice for chunk in chunks for choice in chunk["choices"]]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)

    @property
    def ids(self) -> list[int]:
        return [token for choice in self.choices for token in choice.get("token_ids") or ()]

    def take(self, event: str) -> None:
        """One event; its number follows the last one's."""
        fields = dict(line.split(": ", 1) for line in event.split("\n") if line and not line.startswith(":"))
        if fields.get("event") == "andante":
            assert "id" not in fields
            self.states.append(json.loads(fields["data"]))
        elif fields:
            assert int(fields["id"]) == self.last + 1
            self.last += 1
            self.data.append(fields["data"])


async def events(response: httpx2.Response) -> AsyncIterator[str]:
    """Whole events; what is cut in the middle is not one."""
    buffer = ""
    async for part in response.aiter_text():
        *whole, buffer = (buffer + part).split("\n\n")
        for event in whole:
            yield event


async def read(http: httpx2.AsyncClient, heard: Heard, until: int, **request: Any) -> None:
    """Read on until so many events are there, then cut the connection."""
    async with http.stream(**request) as response:
        assert response.status_code == httpx2.codes.OK, await response.aread()
        heard.headers = response.headers
        heard.stream_id = response.headers["x-stream-id"]
        async for event in events(response):
            heard.take(event)
            if heard.last >= until:
                return


async def come_back(http: httpx2.AsyncClient, heard: Heard, until: int = 1 << 30) -> None:
    headers = {"last-event-id": str(heard.last)} if heard.last else {}
    await read(http, heard, until, method="GET", url=f"/v1/streams/{heard.stream_id}", headers=headers)


async def begin(http: httpx2.AsyncClient, body: Json, until: int = 1 << 30) -> Heard:
    heard = Heard()
    await read(http, heard, until, method="POST", url=CHAT, json=body, headers=OPT_IN)
    return heard


@pytest.fixture
async def served(emulator: Emulators, gateway: Gateways) -> tuple[Any, Gateway]:
    engine = await asyncio.to_thread(emulator, speed=0.2)
    return engine, await asyncio.to_thread(gateway, [engine], streams={"window_s": 5.0})


async def test_readers_that_are_cut_at_random(served: tuple[Any, Gateway]) -> None:
    """Each is cut one to four times; what it has in the end is what one who stayed has."""
    _, house = served
    async with house.client() as http:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> bool:
            draw = random.Random(number)
            async with gate:
                stayed = await begin(http, ask(number))
                cuts = sorted(draw.randint(1, 60) for _ in range(draw.randint(1, 4)))
                heard = await begin(http, ask(number), cuts[0])
                for cut in [*cuts[1:], 1 << 30]:
                    await come_back(http, heard, max(cut, heard.last + 1))
                    if heard.done:
                        break
            assert heard.done
            assert heard.text == stayed.text
            assert stayed.headers["x-stream-resume"] == "replay"
            assert float(stayed.headers["x-stream-window"]) > 0
            assert [s["state"] for s in stayed.states][-1:] in ([], ["ended"])
            return True

        ends = await asyncio.gather(*(one(number) for number in range(STREAMS)))
    print(f"{sum(ends)} of {STREAMS} exact")
    assert all(ends)


async def test_who_is_away_keeps_no_engine(served: tuple[Any, Gateway]) -> None:
    """The slot is free within a second; another key knows nothing of the stream; a parked stream goes on."""
    engine, house = served
    other = create_key(house.config.parent / "andante.db", NewKey(name="other"))
    async with house.client() as http:
        heard = await begin(http, ask(1, max_tokens=300, return_token_ids=True), 5)
        left = time.monotonic()
        await eventually(lambda: engine.running() == 0, timeout=5.0)
        assert time.monotonic() - left < 1.0
        produced = engine.generated()
        theirs = {"authorization": f"Bearer {other}"}
        path = f"/v1/streams/{heard.stream_id}"
        for method, url in (("GET", path), ("DELETE", path), ("POST", f"{path}/reader")):
            body = {"visible": True} if method == "POST" else None
            assert (await http.request(method, url, headers=theirs, json=body)).status_code == httpx2.codes.NOT_FOUND
        assert engine.generated() == produced
        await come_back(http, heard)
        assert heard.done
        assert len(heard.ids) == 300
        assert (await http.post(f"{path}/reader", json={"visible": False, "shown": 3})).status_code == 204


async def test_a_stream_is_stopped_by_its_reader(served: tuple[Any, Gateway]) -> None:
    """For every follower, at once, and it never looks complete."""
    engine, house = served
    async with house.client() as http:
        first = asyncio.create_task(begin(http, ask(2, max_tokens=3000)))
        heard = await begin(http, ask(3, max_tokens=3000), 3)
        second = asyncio.create_task(come_back(http, heard))
        third = Heard(stream_id=heard.stream_id)
        following = asyncio.create_task(come_back(http, third))
        await eventually(lambda: heard.last > 20 and third.last > 20)
        assert (await http.delete(f"/v1/streams/{heard.stream_id}")).status_code == 204
        await asyncio.gather(second, following)
        assert not heard.done
        assert heard.data == third.data
        await eventually(lambda: engine.running() == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await eventually(lambda: engine.running() == 0)


async def test_offsets(served: tuple[Any, Gateway], clients: Clients) -> None:
    """By query too; what is no number, or not there yet, is refused; who never opted in sees no ids."""
    _, house = served
    async with house.client() as http:
        heard = await begin(http, ask(4))
        path = f"/v1/streams/{heard.stream_id}"
        text = (await http.get(path, params={"starting_after": heard.last - 1})).text
        assert text == f"id: {heard.last}\ndata: [DONE]\n\n"
        assert (await http.get(path, params={"starting_after": heard.last + 1})).status_code == 404
        for bad in ({"starting_after": "x"}, {"starting_after": -1}):
            assert (await http.get(path, params=bad)).status_code == httpx2.codes.BAD_REQUEST
        assert (await http.get(path, headers={"last-event-id": "x"})).status_code == httpx2.codes.BAD_REQUEST
        assert (await http.get("/v1/streams/" + "0" * 32)).status_code == httpx2.codes.NOT_FOUND
    plain = await (await clients(house, ask(4))).sse()
    assert plain.text == heard.text


async def test_who_does_not_come_back_is_dropped(emulator: Emulators, gateway: Gateways) -> None:
    """After the window the job is booked and the stream unknown."""
    engine = await asyncio.to_thread(emulator, speed=0.2)
    house = await asyncio.to_thread(gateway, [engine], streams={"window_s": 0.5})
    async with house.client() as http:
        heard = await begin(http, ask(5, max_tokens=3000), 3)

        async def unknown() -> bool:
            return (await http.get(f"/v1/streams/{heard.stream_id}")).status_code == httpx2.codes.NOT_FOUND

        await eventually(lambda: house.metrics().matching("andante_jobs_ended_total", outcome="reader_left"))
        await eventually(unknown)
