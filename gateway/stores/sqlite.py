"""The SQLite file under the embedded stores: opened, locked down to its owner, migrated.

Every commit is synced to the disk before it counts: a revocation that a power cut could undo would not be
one. Commits come from administrators and take milliseconds at most; nothing on the path of a request
writes.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import ConfigError, Unavailable
from gateway.stores.schema import MIGRATIONS, Steps, migrate


def open_database(
    path: Path, *, busy_timeout_s: float = 2.0, steps: Steps = MIGRATIONS, durable: bool = True
) -> sqlite3.Connection:
    """Open the file, and make it (mode 0600) if there is none. Raises ConfigError if it cannot be used.

    `busy_timeout_s` is the longest wait in seconds for another process that is writing. Readers never wait. `steps`
    make its tables; `durable`: what is committed survives a power cut.
    """
    try:
        _make_private(path)
        connection = sqlite3.connect(
            path,
            timeout=busy_timeout_s,
            isolation_level=None,  # transactions are begun by hand
            # Made while the process starts and used by the loop's thread: one after the other, never at once.
            check_same_thread=False,
        )
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"store.path: the file cannot be opened: {error}.") from error
    try:
        _begin_wal(connection, busy_timeout_s)
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        migrate(connection, steps)
    except sqlite3.Error as error:
        connection.close()
        raise ConfigError(f"store.path: the file cannot be used: {error}.") from error
    except ConfigError:
        connection.close()
        raise
    return connection


def _begin_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Several processes may open a new file at once, and SQLite does not wait for a lock to change this mode."""
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def translated(store: str = "key") -> Iterator[None]:
    """Turn SQLite's errors into Unavailable; the cause is kept for the log."""
    try:
        yield
    except sqlite3.Error as error:
        raise Unavailable(f"The {store} store cannot be used now.", retry_after_s=1.0) from error


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that holds the write lock from its start, so that what it reads stays true until it
    commits.

    Rolled back on any error. Raises Unavailable.
    """
    with translated(), connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def _make_private(path: Path) -> None:
    """Make the file, or take other users' rights away; SQLite gives the same mode to its -wal and -shm files.

    An existing file is not opened here: closing any descriptor of a file drops all locks that the process
    has on it, also those of another SQLite connection.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
