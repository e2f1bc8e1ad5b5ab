"""Stream logs in a SQLite file of their own, so that readers find them after a restart.

A file of their own, because a transaction stays open from an append to the next flush. A power cut may lose the last
moments; a log is no account.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.errors import Unavailable
from gateway.stores.followers import Followers
from gateway.stores.memory_streams import check_offset, unknown
from gateway.stores.sqlite import open_database, translated
from gateway.stores.stream_log import LogLimits, LogPage

STEPS: Final = (
    (
        """
        CREATE TABLE streams (
            id TEXT PRIMARY KEY,
            owner TEXT NOT NULL,
            changed_at REAL NOT NULL,
            closed INTEGER NOT NULL DEFAULT 0,
            size INTEGER NOT NULL DEFAULT 0,
            first INTEGER NOT NULL DEFAULT 1,
            last INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE stream_events (
            stream TEXT NOT NULL,
            number INTEGER NOT NULL,
            data BLOB NOT NULL,
            PRIMARY KEY (stream, number)
        ) WITHOUT ROWID
        """,
    ),
)
_OLD: Final = "changed_at < CASE closed WHEN 1 THEN ? ELSE ? END"


class SqliteStreamLog:
    """The port `StreamLog` over a file. One process writes to it."""

    def __init__(self, path: Path, limits: LogLimits | None = None) -> None:
        self._limits = limits or LogLimits()
        self._database: sqlite3.Connection = open_database(path, steps=STEPS, durable=False)
        self._followers = Followers()

    def open(self, stream_id: str, owner: str, *, now: float) -> None:
        self._begin()
        with translated("streams"):
            (count,) = self._database.execute("SELECT count(*) FROM streams").fetchone()
            if count >= self._limits.max_streams and not self.expire(now=now):
                raise Unavailable("Too many streams are kept for their readers.", retry_after_s=1.0)
            try:
                self._database.execute(
                    "INSERT INTO streams (id, owner, changed_at) VALUES (?, ?, ?)", (stream_id, owner, now)
                )
            except sqlite3.IntegrityError:
                raise ValueError(f"stream {stream_id} is already here") from None

    def append(self, stream_id: str, events: Sequence[bytes], *, now: float) -> int:
        self._begin()
        with translated("streams"):
            first, last, size = self._row(stream_id, "first, last, size")
            rows = [(stream_id, last + number, data) for number, data in enumerate(events, start=1)]
            self._database.executemany("INSERT INTO stream_events VALUES (?, ?, ?)", rows)
            last, size = last + len(rows), size + sum(map(len, events))
            while size > self._limits.max_bytes and first < last:
                (dropped,) = self._database.execute(
                    "DELETE FROM stream_events WHERE stream = ? AND number = ? RETURNING length(data)",
                    (stream_id, first),
                ).fetchone()
                first, size = first + 1, size - dropped
            self._database.execute(
                "UPDATE streams SET first = ?, last = ?, size = ?, changed_at = ? WHERE id = ?",
                (first, last, size, now, stream_id),
            )
        self._followers.tell(stream_id)
        return int(last)

    def close_stream(self, stream_id: str, *, now: float) -> None:
        self._begin()
        with translated("streams"):
            (closed,) = self._row(stream_id, "closed")
            if closed:
                return
            self._database.execute("UPDATE streams SET closed = 1, changed_at = ? WHERE id = ?", (now, stream_id))
        self._followers.tell(stream_id)

    def owner(self, stream_id: str) -> str:
        with translated("streams"):
            return str(self._row(stream_id, "owner")[0])

    def read(self, stream_id: str, after: int, *, max_bytes: int) -> LogPage:
        with translated("streams"):
            first, last, closed = self._row(stream_id, "first, last, closed")
            check_offset(after, first_kept=first, last=last)
            events: list[bytes] = []
            size = 0
            rows = self._database.execute(
                "SELECT data FROM stream_events WHERE stream = ? AND number > ? ORDER BY number", (stream_id, after)
            )
            for (data,) in rows:
                if events and size + len(data) > max_bytes:
                    break
                events.append(data)
                size += len(data)
            rows.close()
        return LogPage(after + 1, events, closed=bool(closed) and after + len(events) == last)

    def follow(self, stream_id: str, changed: Callable[[], None]) -> Callable[[], None]:
        self.owner(stream_id)
        return self._followers.add(stream_id, changed)

    def drop(self, stream_id: str) -> None:
        self._begin()
        with translated("streams"):
            self._database.execute("DELETE FROM streams WHERE id = ?", (stream_id,))
            self._database.execute("DELETE FROM stream_events WHERE stream = ?", (stream_id,))

    def expire(self, *, now: float) -> int:
        self._begin()
        ages = (now - self._limits.ttl_s, now - self._limits.open_ttl_s)
        with translated("streams"):
            old = self._database.execute(f"SELECT id FROM streams WHERE {_OLD}", ages).fetchall()  # noqa: S608 - ours
            self._database.executemany("DELETE FROM stream_events WHERE stream = ?", old)
            self._database.executemany("DELETE FROM streams WHERE id = ?", old)
        return len(old)

    def flush(self) -> None:
        with translated("streams"):
            self._database.commit()

    def close(self) -> None:
        self._database.commit()
        self._database.close()

    def _begin(self) -> None:
        if not self._database.in_transaction:
            with translated("streams"):
                self._database.execute("BEGIN IMMEDIATE")

    def _row(self, stream_id: str, columns: str) -> tuple[int, ...]:
        query = f"SELECT {columns} FROM streams WHERE id = ?"  # noqa: S608 - ours
        row: tuple[int, ...] | None = self._database.execute(query, (stream_id,)).fetchone()
        if row is None:
            raise unknown()
        return row
