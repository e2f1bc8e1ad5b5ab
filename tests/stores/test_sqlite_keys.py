"""What is the SQLite key store's own: the file, other processes, broken files."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import ConfigError, Unavailable
from gateway.stores.base import NewKey
from gateway.stores.schema import MIGRATIONS
from gateway.stores.sqlite import open_database
from gateway.stores.sqlite_keys import SqliteKeyStore

NOW = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteKeyStore]:
    store = SqliteKeyStore(path)
    yield store
    store.close()


@pytest.fixture
def other(store: SqliteKeyStore, path: Path) -> Iterator[SqliteKeyStore]:
    """A second store on the same file, as another process has."""
    other = SqliteKeyStore(path)
    yield other
    other.close()


def test_keys_outlive_the_store(path: Path) -> None:
    """A key made before a restart works after it."""
    store = SqliteKeyStore(path)
    issued = store.create(NewKey("plain"), now=NOW)
    store.close()
    reopened = SqliteKeyStore(path)

    assert issued.key == reopened.find(issued.secret, now=NOW)
    reopened.close()


def test_no_secret_reaches_the_file(store: SqliteKeyStore, path: Path) -> None:
    """Neither the database nor its write-ahead log holds a secret, whole or random part, present or previous."""
    issued = store.create(NewKey("plain"), now=NOW)
    again = store.rotate(issued.key.id, now=NOW, grace_s=60)
    store.find(again.secret, now=NOW)
    files = list(path.parent.iterdir())
    stored = b"".join(file.read_bytes() for file in files)

    assert {"keys.db", "keys.db-wal", "keys.db-shm"} == {file.name for file in files}
    assert b"plain" in stored
    for secret in (issued.secret, again.secret):
        assert secret.split("-", 2)[2].encode() not in stored


def test_only_the_owner_can_read_the_files(store: SqliteKeyStore, path: Path) -> None:
    """The database and its companions have mode 0600, the new folder 0700."""
    store.create(NewKey("plain"), now=NOW)

    assert {0o600} == {file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_wider_mode_is_narrowed(tmp_path: Path) -> None:
    """An existing file that others can read is locked down when it is opened."""
    path = tmp_path / "keys.db"
    path.touch(mode=0o644)
    SqliteKeyStore(path).close()

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_change_elsewhere_is_seen_by_the_next_call(store: SqliteKeyStore, other: SqliteKeyStore) -> None:
    """Made, changed, rotated, revoked on another connection: this one knows at once, although it has a copy."""
    issued = other.create(NewKey("plain"), now=NOW)
    assert issued.key == store.find(issued.secret, now=NOW)
    changed = other.update(issued.key.id, {"weight": 7.0})
    assert changed == store.find(issued.secret, now=NOW)
    rotated = other.rotate(issued.key.id, now=NOW)
    assert store.find(issued.secret, now=NOW) is None
    assert rotated.key == store.find(rotated.secret, now=NOW)
    other.revoke(issued.key.id, now=NOW)

    assert store.find(rotated.secret, now=NOW) is None


def test_a_revocation_by_another_process_is_seen_at_once(store: SqliteKeyStore, path: Path) -> None:
    """The same, with a real second process."""
    issued = store.create(NewKey("plain"), now=NOW)
    assert store.find(issued.secret, now=NOW) is not None
    script = (
        "import sys; from pathlib import Path; from gateway.stores.sqlite_keys import SqliteKeyStore\n"
        "store = SqliteKeyStore(Path(sys.argv[1])); store.revoke(sys.argv[2], now=5.0); store.close()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, str(path), issued.key.id], check=True, env=environment)

    assert store.find(issued.secret, now=NOW) is None


def test_an_unchanged_file_is_not_read_again(store: SqliteKeyStore) -> None:
    """A known key costs one version check; an unknown id is looked up each time and not kept."""
    issued = store.create(NewKey("plain"), now=NOW)
    store.find(issued.secret, now=NOW)
    statements: list[str] = []
    store._connection.set_trace_callback(statements.append)
    store.find(issued.secret, now=NOW)

    assert statements == ["PRAGMA data_version"]
    store.find("sk-" + "0" * 12 + issued.secret[15:], now=NOW)
    assert repr(store) == "<SqliteKeyStore 1 keys in memory>"


def test_the_copy_is_bounded(path: Path) -> None:
    """No more keys in memory than allowed; those beyond still work."""
    store = SqliteKeyStore(path, max_copied=2)
    issued = [store.create(NewKey("plain"), now=NOW) for _ in range(4)]
    for each in issued * 2:
        assert each.key == store.find(each.secret, now=NOW)

    assert repr(store) == "<SqliteKeyStore 2 keys in memory>"
    store.close()


def test_a_busy_file_is_unavailable_and_the_store_goes_on(store: SqliteKeyStore, path: Path) -> None:
    """A writer that holds the lock too long makes writes fail in our own words; reads are not held up."""
    issued = store.create(NewKey("plain"), now=NOW)
    store._connection.execute("PRAGMA busy_timeout = 1")
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as refused:
        store.revoke(issued.key.id, now=NOW)

    assert refused.value.retry_after_s == 1.0
    assert store.find(issued.secret, now=NOW) is not None
    writer.close()
    store.revoke(issued.key.id, now=NOW)
    assert store.find(issued.secret, now=NOW) is None


def test_a_failed_change_leaves_the_key_as_it_was(store: SqliteKeyStore) -> None:
    """A transaction that fails half-way is rolled back, and the next one works."""
    issued = store.create(NewKey("plain"), now=NOW)
    store._connection.execute("CREATE TRIGGER no BEFORE UPDATE ON api_keys BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Unavailable):
        store.rotate(issued.key.id, now=NOW)
    store._connection.execute("DROP TRIGGER no")

    assert issued.key == store.find(issued.secret, now=NOW)
    assert store.update(issued.key.id, {"weight": 2.0}).weight == 2.0


def test_a_closed_store_is_unavailable(path: Path) -> None:
    """What SQLite refuses comes out as the gateway's own error, on the fast path too."""
    store = SqliteKeyStore(path)
    secret = store.create(NewKey("plain"), now=NOW).secret
    store.close()
    for call in (lambda: store.find(secret, now=NOW), lambda: store.get("0" * 12), store.list):
        with pytest.raises(Unavailable):
            call()


def test_a_file_that_is_no_database_is_a_configuration_error(tmp_path: Path) -> None:
    """So is a folder; the message names the setting."""
    (tmp_path / "text").write_text("this is not a database, but it is long enough to be looked at" * 20)
    for path in (tmp_path / "text", tmp_path, tmp_path / "text" / "below"):
        with pytest.raises(ConfigError, match=r"store\.path"):
            SqliteKeyStore(path)


def test_a_later_schema_is_refused(store: SqliteKeyStore, path: Path) -> None:
    """A file made by a later version is not touched."""
    store._connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    with pytest.raises(ConfigError, match="schema version"):
        open_database(path)


def test_migrations_run_once(store: SqliteKeyStore, other: SqliteKeyStore) -> None:
    """The version is the number of steps; opening again changes nothing."""
    for each in (store, other):
        assert (len(MIGRATIONS),) == each._connection.execute("PRAGMA user_version").fetchone()
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
