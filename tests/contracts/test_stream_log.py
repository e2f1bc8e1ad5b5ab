"""What every stream log does, in memory, in a file, or in Redis: there one gateway writes and another one reads."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StreamGone, StreamNotFound, Unavailable
from gateway.stores.memory_streams import MemoryStreamLog
from gateway.stores.sqlite_streams import SqliteStreamLog
from gateway.stores.stream_log import LogLimits, StreamLog
from tests.support.pairs import Loop, Tripwire
from tests.support.redis import RedisServer
from tests.support.relay import relayed
from tests.support.stream_pair import TwoStreamLogs

Make = Callable[[LogLimits | None], StreamLog]
MUCH = 1 << 30


@pytest.fixture(params=["memory", "sqlite", "redis", "redis, cut at every append"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """`make(limits)` is a new, empty store."""
    with ExitStack() as stack:
        numbers = itertools.count(1)
        makers: dict[str, Make] = {
            "memory": MemoryStreamLog,
            "sqlite": lambda limits: SqliteStreamLog(tmp_path / f"{next(numbers)}.db", limits),
        }
        maker = makers.get(request.param) or stack.enter_context(on_redis(request, cut="cut" in request.param))

        def one(limits: LogLimits | None) -> StreamLog:
            made = maker(limits)
            stack.callback(made.close)
            return made

        yield one


@contextmanager
def on_redis(request: pytest.FixtureRequest, *, cut: bool) -> Iterator[Make]:
    """Pairs of gateways; with `cut` their connections break at every append and close."""
    server: RedisServer = request.getfixturevalue("redis")
    with ExitStack() as stack:
        url, tripwire = server.url, None
        if cut:
            relay = stack.enter_context(relayed("127.0.0.1", server.port))
            url, tripwire = f"redis://127.0.0.1:{relay.port}/0", Tripwire(b"XADD")
            relay.inject(tripwire)
        loop = Loop()
        stack.callback(loop.close)
        yield lambda limits: TwoStreamLogs(loop, url, limits, tripwire)


@pytest.fixture
def log(make: Make) -> StreamLog:
    """With one open stream."""
    made = make(None)
    made.open("s", "alice", now=0.0)
    return made


def test_what_is_appended_is_read(log: StreamLog) -> None:
    """By number, from anywhere, in pages."""
    assert log.append("s", [b"a", b"b"], now=1.0) == 2
    assert log.append("s", [b"c"], now=1.0) == 3
    page = log.read("s", 0, max_bytes=MUCH)
    assert (page.first, list(page.events), page.last, page.closed) == (1, [b"a", b"b", b"c"], 3, False)
    assert list(log.read("s", 2, max_bytes=MUCH).events) == [b"c"]
    assert list(log.read("s", 0, max_bytes=2).events) == [b"a", b"b"]
    assert list(log.read("s", 0, max_bytes=0).events) == [b"a"]
    empty = log.read("s", 3, max_bytes=MUCH)
    assert (list(empty.events), empty.last, empty.closed) == ([], 3, False)
    with pytest.raises(StreamNotFound):
        log.read("s", 4, max_bytes=MUCH)


def test_the_end_is_seen_behind_the_last_event(log: StreamLog) -> None:
    """Not on the page before."""
    log.append("s", [b"a", b"b"], now=1.0)
    log.close_stream("s", now=2.0)
    log.close_stream("s", now=3.0)
    assert not log.read("s", 0, max_bytes=1).closed
    assert log.read("s", 1, max_bytes=1).closed
    assert log.read("s", 2, max_bytes=1).closed


def test_who_does_not_exist(log: StreamLog) -> None:
    """Every call says the same; a name is given once."""
    assert log.owner("s") == "alice"
    for call in (
        lambda: log.append("x", [b"a"], now=0.0),
        lambda: log.read("x", 0, max_bytes=1),
        lambda: log.close_stream("x", now=0.0),
        lambda: log.owner("x"),
        lambda: log.follow("x", lambda: None),
    ):
        with pytest.raises(StreamNotFound):
            call()
    with pytest.raises(ValueError, match="already here"):
        log.open("s", "bob", now=0.0)
    log.drop("s")
    log.drop("s")
    with pytest.raises(StreamNotFound):
        log.owner("s")


def test_followers_are_told(log: StreamLog) -> None:
    """Of every append and of the close, until they leave."""
    heard: list[str] = []
    leave = log.follow("s", lambda: heard.append("a"))
    log.follow("s", lambda: heard.append("b"))
    log.append("s", [b"1"], now=0.0)
    leave()
    leave()
    log.append("s", [b"2"], now=0.0)
    log.close_stream("s", now=0.0)
    assert heard == ["a", "b", "b", "b"]


def test_a_log_is_bounded(make: Make) -> None:
    """The oldest events give way; who has not read them is told so."""
    log = make(LogLimits(max_bytes=10))
    log.open("s", "alice", now=0.0)
    for number in range(20):
        log.append("s", [b"%04d" % number], now=0.0)
    assert list(log.read("s", 18, max_bytes=MUCH).events) == [b"0018", b"0019"]
    with pytest.raises(StreamGone):
        log.read("s", 17, max_bytes=MUCH)
    assert log.append("s", [b"x" * 50], now=0.0) == 21
    assert list(log.read("s", 20, max_bytes=1).events) == [b"x" * 50]


def test_logs_are_few(make: Make) -> None:
    """One too many is refused unless an old one can go."""
    log = make(LogLimits(max_streams=2, ttl_s=10.0, open_ttl_s=100.0))
    for name in ("a", "b"):
        log.open(name, "alice", now=0.0)
    with pytest.raises(Unavailable):
        log.open("c", "alice", now=50.0)
    log.close_stream("a", now=0.0)
    log.open("c", "alice", now=50.0)
    with pytest.raises(StreamNotFound):
        log.owner("a")


def test_logs_end_by_their_age(make: Make) -> None:
    """Closed ones a while after their end, open ones long after their last event."""
    log = make(LogLimits(ttl_s=10.0, open_ttl_s=100.0))
    for name in ("closed", "open"):
        log.open(name, "alice", now=0.0)
        log.append(name, [b"a"], now=1.0)
    log.close_stream("closed", now=5.0)
    assert [log.expire(now=now) for now in (14.0, 16.0, 100.0, 102.0)] == [0, 1, 0, 1]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.binary(max_size=9), max_size=4), max_size=6), st.integers(0, 20))
def test_pages_join_to_the_whole(make: Make, parts: list[list[bytes]], size: int) -> None:
    """Whatever is read after every append is everything, once, in order."""
    log = make(None)
    log.open("s", "alice", now=0.0)
    read: list[bytes] = []
    for part in parts:
        log.append("s", part, now=0.0)
        log.flush()
        page = log.read("s", len(read), max_bytes=size)
        read += page.events
    while events := log.read("s", len(read), max_bytes=size).events:
        read += events
    assert read == [event for part in parts for event in part]


def test_a_file_outlives_its_process(tmp_path: Path) -> None:
    """What was flushed or closed over is there again, and goes on."""
    path = tmp_path / "streams.db"
    first = SqliteStreamLog(path)
    first.open("s", "alice", now=0.0)
    first.append("s", [b"a"], now=0.0)
    first.flush()
    first.append("s", [b"b"], now=0.0)
    first.close()
    again = SqliteStreamLog(path)
    assert again.append("s", [b"c"], now=1.0) == 3
    assert list(again.read("s", 0, max_bytes=MUCH).events) == [b"a", b"b", b"c"]
    again.close()
