"""The tables of the SQLite store, as a list of steps: a file's version is the number of steps it has been
through.

A step, once released, never changes; a new one is added behind it.
"""

import sqlite3
from typing import Final

from gateway.errors import ConfigError

Steps = tuple[tuple[str, ...], ...]

MIGRATIONS: Final[Steps] = (
    (
        """
        CREATE TABLE api_keys (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            digest BLOB NOT NULL,
            previous_digest BLOB,
            name TEXT NOT NULL,
            tenant TEXT NOT NULL,
            weight REAL NOT NULL,
            models TEXT,
            expires_at REAL,
            pace TEXT,
            requests_per_minute INTEGER,
            tokens_per_minute INTEGER,
            concurrent_streams INTEGER,
            created_at REAL NOT NULL,
            rotated_at REAL,
            previous_until REAL,
            revoked_at REAL
        )
        """,
        "CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL",
    ),
    ("ALTER TABLE api_keys ADD COLUMN version INTEGER NOT NULL DEFAULT 1",),
    # The number of each key's last change, so that a process reads only what others have changed. Triggers, as a
    # process of the version before may still be writing.
    (
        "CREATE TABLE key_changes (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
        "INSERT INTO key_changes (id) SELECT id FROM api_keys ORDER BY seq",
        """
        CREATE TRIGGER key_made AFTER INSERT ON api_keys BEGIN
            INSERT INTO key_changes (id) VALUES (NEW.id);
        END
        """,
        """
        CREATE TRIGGER key_changed AFTER UPDATE ON api_keys BEGIN
            DELETE FROM key_changes WHERE id = NEW.id;
            INSERT INTO key_changes (id) VALUES (NEW.id);
        END
        """,
        """
        CREATE TRIGGER key_gone AFTER DELETE ON api_keys BEGIN
            DELETE FROM key_changes WHERE id = OLD.id;
        END
        """,
    ),
)


def migrate(connection: sqlite3.Connection, steps: Steps = MIGRATIONS) -> None:
    """Bring a file up to date. Raises ConfigError if a later version of the program made it.

    The lock is taken before the version is read: of two processes that open a file at once, one migrates it.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(steps):
            raise ConfigError(
                f"store.path: the file has schema version {version}, this program knows {len(steps)}."
                " Use the program's later version."
            )
        for statements in steps[version:]:
            for statement in statements:
                connection.execute(statement)
        # A pragma takes no parameters; the number is our own.
        connection.execute(f"PRAGMA user_version = {len(steps)}")
