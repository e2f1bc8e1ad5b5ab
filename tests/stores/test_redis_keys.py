"""What copying keys between gateways costs their own stores, and when a gateway knows them all."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.stores import key_codec
from gateway.stores.base import KeyChanges, NewKey
from gateway.stores.key_records import KeyRecord, RecordStore, made
from gateway.stores.memory import MemoryKeyStore
from gateway.stores.redis_keys import PAGE, RedisKeyStore
from gateway.stores.redis_link import LinkSettings, RedisLink
from gateway.stores.sqlite_keys import SqliteKeyStore
from tests.support.redis import RedisServer, kept
from tests.support.relay import relayed
from tests.support.waiting import eventually

NOW = 1_700_000_000.0


@asynccontextmanager
async def exchanging(store: RedisKeyStore) -> AsyncIterator[None]:
    """It meets the others, for the time of the block."""
    task = asyncio.create_task(store.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Traced:
    """An SQLite key store, and the statements that it has made."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteKeyStore(path)
        self.statements: list[str] = []
        self.store._connection.set_trace_callback(self.statements.append)

    def count(self, start: str) -> int:
        return sum(statement.startswith(start) for statement in self.statements)


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    found = Traced(tmp_path / "keys.db")
    yield found
    found.store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordStore]:
    made = MemoryKeyStore(max_keys=3) if request.param == "memory" else SqliteKeyStore(tmp_path / "k.db", max_keys=3)
    yield made
    made.close()


def copy(number: int, **changes: object) -> KeyRecord:
    """A key that another gateway has made."""
    record, _ = made(f"{number:012x}", NewKey(f"key {number}"), NOW)
    return replace(record, key=replace(record.key, **changes))  # type: ignore[arg-type]


def test_copies_are_kept_where_they_are_later(store: RecordStore) -> None:
    """A record store of either kind: an older copy never replaces a later one, and who has no room is told."""
    first, second, third, fourth = (copy(number) for number in range(4))
    later = replace(first, version=7)
    gone = replace(second, key=replace(second.key, revoked_at=NOW), version=2)

    assert list(store.keep([later, second, third, fourth])) == [fourth]
    assert list(store.keep([first, gone, fourth])) == []  # the revoked one gives way
    assert store.record(first.key.id) == later
    assert store.record(second.key.id) is None
    assert {record.key.id for record in store.changes(0)[1]} == {each.key.id for each in (first, third, fourth)}


def test_only_what_changed_is_read(store: RecordStore) -> None:
    """Each record once, in the order of the last changes; nothing where nothing was done."""
    ids = [store.create(NewKey(f"key {number}"), now=NOW).key.id for number in range(3)]
    number, records = store.changes(0)
    assert [record.key.id for record in records] == ids
    assert store.changes(number) == (number, [])

    store.update(ids[1], KeyChanges(weight=2.0))
    store.revoke(ids[0], now=NOW)
    store.update(ids[1], KeyChanges(weight=3.0))
    later, records = store.changes(number)

    assert [(record.key.id, record.key.weight) for record in records] == [(ids[0], 1.0), (ids[1], 3.0)]
    assert store.changes(later) == (later, [])


def test_another_process_s_changes_are_read_and_no_more(traced: Traced, tmp_path: Path) -> None:
    """Those of the command line, say, or of another worker on the same file."""
    other = SqliteKeyStore(tmp_path / "keys.db")
    ids = [other.create(NewKey(f"key {number}"), now=NOW).key.id for number in range(50)]
    number, _ = traced.store.changes(0)
    other.revoke(ids[7], now=NOW)

    _, records = traced.store.changes(number)

    assert [record.key.id for record in records] == [ids[7]]
    other.close()


def test_a_copy_that_another_worker_has_kept_is_not_written_again(traced: Traced, tmp_path: Path) -> None:
    """Workers share a file, and each hears of every key."""
    other = SqliteKeyStore(tmp_path / "keys.db")
    records = [copy(number) for number in range(20)]
    other.keep(records)
    traced.store.keep(records)

    assert traced.count("INSERT INTO api_keys") == 0
    other.close()


def test_a_value_that_the_file_does_not_take_costs_its_own_key_only(traced: Traced) -> None:
    """NaN is no number there."""
    bad = copy(1, created_at=float("nan"))

    assert list(traced.store.keep([copy(0), bad, copy(2)])) == [bad]
    assert len(traced.store.changes(0)[1]) == 2


def test_a_file_of_the_version_before_tells_its_keys(tmp_path: Path) -> None:
    """And changes made by a program of that version, which is still running."""
    path = tmp_path / "keys.db"
    old = SqliteKeyStore(path)
    key_id = old.create(NewKey("old"), now=NOW).key.id
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TABLE key_changes; DROP TRIGGER key_made; DROP TRIGGER key_changed")
        connection.executescript("DROP TRIGGER key_gone; PRAGMA user_version = 2")
    new = SqliteKeyStore(path)
    number, records = new.changes(0)
    assert [record.key.id for record in records] == [key_id]

    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE api_keys SET revoked_at = 1, version = 2")
    assert [record.key.revoked_at for record in new.changes(number)[1]] == [1]
    old.close()
    new.close()


async def test_keys_come_in_a_transaction_a_page(redis: RedisServer, tmp_path: Path, traced: Traced) -> None:
    """A gateway that is new gets all keys of the others; it knows them all when that is done, and not before."""
    prefix, many = tmp_path.name, MemoryKeyStore()
    secret = [many.create(NewKey(f"key {number}"), now=NOW).secret for number in range(3 * PAGE)][-1]
    async with AsyncExitStack() as stack:
        links = [RedisLink(LinkSettings(redis.url, prefix=prefix)) for _ in range(2)]
        first, second = RedisKeyStore(many, links[0]), RedisKeyStore(traced.store, links[1])
        await stack.enter_async_context(kept(links[0]))
        await stack.enter_async_context(exchanging(first))
        await eventually(lambda: first.met)
        before = traced.count("BEGIN")
        await stack.enter_async_context(kept(links[1]))
        assert not second.met
        await stack.enter_async_context(exchanging(second))
        await eventually(lambda: second.met)

        assert second.find(secret, now=NOW) is not None
        assert traced.count("BEGIN") - before == 3


async def test_messages_that_come_together_are_kept_together(traced: Traced) -> None:
    """Fifty keys of one moment are one transaction; what makes no sense among them costs nothing but itself."""
    store = RedisKeyStore(traced.store, RedisLink(LinkSettings("redis://127.0.0.1:1")))
    before = traced.count("BEGIN")
    for number in range(50):
        store._hear(key_codec.packed(copy(number)))
        store._hear(b"\x81\xa2id\xa1x")
    await eventually(lambda: traced.count("COMMIT") > 0)

    assert traced.count("BEGIN") - before == 1
    assert len(store.list()) == store.rejected == 50


async def test_an_outage_later_is_no_ignorance(redis: RedisServer, tmp_path: Path) -> None:
    """Whoever has known all keys once goes on with them while Redis is away; who starts then does not know them."""
    with relayed("127.0.0.1", redis.port) as relay:
        async with AsyncExitStack() as stack:
            url = f"redis://127.0.0.1:{relay.port}/0"
            link = RedisLink(LinkSettings(url, prefix=tmp_path.name))
            store = RedisKeyStore(MemoryKeyStore(), link)
            await stack.enter_async_context(kept(link))
            await stack.enter_async_context(exchanging(store))
            await eventually(lambda: store.met)
            relay.cut()
            await eventually(lambda: not link.available)
            assert (store.met, store.settled) == (True, False)
