"""The link to Redis, with a real server that is stopped, killed, emptied and cut off."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.stores.redis_commands import Call, Refused, Script
from gateway.stores.redis_link import LinkSettings, RedisLink
from tests.support.redis import RedisServer, kept, linked, redis_server
from tests.support.relay import relayed
from tests.support.waiting import eventually

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@dataclass
class Heard:
    """What a listener was told."""

    changes: list[bool] = field(default_factory=list)
    emptied_times: int = 0

    def changed(self, available: bool) -> None:
        self.changes.append(available)

    def emptied(self) -> None:
        self.emptied_times += 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as made:
        yield made


async def test_commands_scripts_and_batches(server: RedisServer) -> None:
    """Answers come as Redis gives them; a refused command of a batch leaves the others alone; all are counted."""
    async with linked(server.url) as link:
        key = link.key("number", "a")
        assert key == "andante:number:{a}"
        await link.do("SET", key, 1)
        before = link.operations
        assert await link.run_script(ADD, [key], 2) == 3
        assert await link.run_script(ADD, [key], 2) == 5
        await link.do("SCRIPT", "FLUSH")
        answers = await link.batch([("GET", key), ("LPUSH", key, "x"), Call(ADD, [key], [1]), ("HGETALL", "none")])
        assert isinstance(answers[1], Refused)
        assert [answers[0], answers[2], answers[3]] == [b"5", 6, {}]
        assert link.operations - before >= 8
        with pytest.raises(Unavailable):
            await link.do("LPUSH", key, "x")
        assert link.available


async def test_messages(server: RedisServer) -> None:
    """From anyone to the channels that were named before the link began."""
    link = RedisLink(LinkSettings(server.url))
    heard: list[bytes] = []
    link.subscribe(link.key("inbox", "me"), heard.append)
    async with kept(link), linked(server.url) as other:
        await other.do("PUBLISH", other.key("inbox", "me"), b"\x00hello")
        await eventually(lambda: heard == [b"\x00hello"])


async def test_a_message_that_nobody_understands_costs_only_itself(server: RedisServer) -> None:
    """It is counted and dropped; the next one comes, on the same link."""
    link = RedisLink(LinkSettings(server.url))
    heard: list[int] = []
    link.subscribe(link.key("inbox", "me"), lambda data: heard.append(int(data)))
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what["exception"]))
    async with kept(link), linked(server.url) as other:
        for said in (b"no number", b"7"):
            await other.do("PUBLISH", other.key("inbox", "me"), said)
        await eventually(lambda: heard == [7])
        assert (link.rejected, link.failures, len(told)) == (1, 0, 1)


async def test_a_new_redis_knows_the_scripts_before_it_counts_as_there(server: RedisServer) -> None:
    """Else a batch's script would be done behind the commands that follow it."""
    async with linked(server.url) as link:
        key = link.key("number", "a")
        await link.run_script(ADD, [key], 2)
        server.kill()
        await eventually(lambda: not link.available)
        server.start(empty=True)
        await link.wait()
        assert await link.batch([Call(ADD, [key], [1]), ("GET", key)]) == [1, b"1"]


@pytest.mark.parametrize("empty", [True, False])
async def test_redis_is_killed_and_comes_back(server: RedisServer, empty: bool) -> None:
    """It is away at once, commands do not wait, and who listens hears whether everything is gone."""
    heard = Heard()
    async with linked(server.url, listener=heard) as link:
        await link.do("SET", link.key("x", "a"), 1)
        assert (heard.changes, heard.emptied_times) == ([True], 1)
        server.kill()
        await eventually(lambda: not link.available)
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await link.do("GET", "x")
        assert time.monotonic() - begun < 0.1
        server.start(empty=empty)
        await eventually(lambda: link.available, timeout=10.0)
        assert heard.changes == [True, False, True]
        assert heard.emptied_times == (2 if empty else 1)


async def test_redis_is_emptied(server: RedisServer) -> None:
    """Every gateway hears of it, whoever notices first."""
    first, second = Heard(), Heard()
    async with linked(server.url, listener=first) as link, linked(server.url, listener=second):
        assert (first.emptied_times, second.emptied_times) == (1, 0)
        await link.do("FLUSHALL")
        await eventually(lambda: (first.emptied_times, second.emptied_times) == (2, 1))
        assert link.available


async def test_redis_falls_silent(server: RedisServer) -> None:
    """A command waits for its time limit and no longer; the link is back when Redis is."""
    async with linked(server.url, timeout_s=0.3) as link:
        server.pause()
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            await link.do("GET", "x")
        assert time.monotonic() - begun < 2.0
        assert not link.available
        server.resume()
        await eventually(lambda: link.available, timeout=10.0)


async def test_the_network_is_cut(server: RedisServer) -> None:
    """Messages are heard again after it is mended."""
    heard: list[bytes] = []
    with relayed("127.0.0.1", server.port) as relay:
        link = RedisLink(LinkSettings(f"redis://127.0.0.1:{relay.port}/0"))
        channel = link.key("inbox", "me")
        link.subscribe(channel, heard.append)
        async with kept(link), linked(server.url) as other:
            relay.cut()
            await eventually(lambda: not link.available)
            relay.mend()
            async with asyncio.timeout(10.0):
                await link.wait()
            await other.do("PUBLISH", channel, "again")
            await eventually(lambda: heard == [b"again"])


def test_the_address_is_not_shown() -> None:
    """It may hold a password."""
    assert "secret" not in repr(LinkSettings("redis://:secret@host"))
