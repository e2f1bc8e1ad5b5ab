"""API keys in the SQLite file, with an in-memory copy of those in use.

A key must stop working the moment another process (the command line, a second gateway) revokes it, and
asking the file for the whole key on every request would be a waste. SQLite's `PRAGMA data_version` answers
both: the number changes when, and only when, another connection has committed, and reading it costs a few
microseconds. While it stands still, keys come from the copy; once it moves, the whole copy is dropped.
"""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.core.limits import Limits
from gateway.core.pace import PaceSpec
from gateway.errors import Unavailable
from gateway.stores import key_records
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_codec import stamp
from gateway.stores.key_records import KeyRecord
from gateway.stores.sqlite import open_database, translated, writing

_COLUMNS: Final = (
    "id, digest, previous_digest, name, tenant, weight, models, expires_at, pace, requests_per_minute,"
    " tokens_per_minute, concurrent_streams, created_at, rotated_at, previous_until, revoked_at, version"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM api_keys"  # noqa: S608 - constants only
_CHANGES: Final = (
    f"SELECT number, {_COLUMNS} FROM key_changes CROSS JOIN api_keys USING (id)"  # noqa: S608
    " WHERE number > ? ORDER BY number"
)
_SAVE: Final = (
    f"INSERT INTO api_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
    " ON CONFLICT (id) DO UPDATE SET digest = excluded.digest, previous_digest = excluded.previous_digest,"
    " name = excluded.name, weight = excluded.weight, models = excluded.models,"
    " expires_at = excluded.expires_at,"
    " pace = excluded.pace, requests_per_minute = excluded.requests_per_minute,"
    " tokens_per_minute = excluded.tokens_per_minute, concurrent_streams = excluded.concurrent_streams,"
    " rotated_at = excluded.rotated_at, previous_until = excluded.previous_until,"
    " revoked_at = excluded.revoked_at, version = excluded.version"
)
_DROP_LONGEST_REVOKED: Final = (
    "DELETE FROM api_keys WHERE id ="
    " (SELECT id FROM api_keys WHERE revoked_at IS NOT NULL ORDER BY revoked_at, id LIMIT 1)"
)


class SqliteKeyStore:
    """The port `KeyStore` (and `RecordStore`) over one file.

    At most `max_keys` keys are stored and at most `max_copied` of them kept in memory (about 1 KiB each).
    To be used by one thread at a time.
    """

    def __init__(self, path: Path, *, max_keys: int = key_records.MAX_KEYS, max_copied: int = 10_000) -> None:
        self._connection = open_database(path)
        self._max_keys = max_keys
        self._max_copied = max_copied
        self._copies: dict[str, KeyRecord] = {}
        self._copied_at_version: tuple[int] | None = None

    def __repr__(self) -> str:
        return f"<SqliteKeyStore {len(self._copies)} keys in memory>"

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        with writing(self._connection):
            record, issued = key_records.made(self._free_id(), new, now)
            self._make_room()
            self._save(record)
        return issued

    def list(self, *, after: str | None = None, limit: int = 100) -> Sequence[ApiKey]:
        with translated():
            after_seq = 0
            if after is not None:
                key_records.existing(self._select(after))
                query = "SELECT seq FROM api_keys WHERE id = ?"
                (after_seq,) = self._connection.execute(query, (after,)).fetchone()
            query = f"{_SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
            rows = self._connection.execute(query, (after_seq, limit))
            return [_record(row).key for row in rows]

    def get(self, key_id: str) -> ApiKey:
        with translated():
            return key_records.existing(self._select(key_id)).key

    def update(self, key_id: str, changes: KeyChanges) -> ApiKey:
        with writing(self._connection):
            record = key_records.changed(self._existing(key_id), changes)
            self._save(record)
        return record.key

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        with writing(self._connection):
            record, issued = key_records.rotated(self._existing(key_id), now, grace_s)
            self._save(record)
        return issued

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        with writing(self._connection):
            record = key_records.revoked(self._existing(key_id), now)
            self._save(record)
        return record.key

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        key_id = key_records.key_id_of(secret)
        record = self._copy(key_id) if key_id is not None else None
        return key_records.matching(record, secret, now)

    def changes(self, after: int) -> tuple[int, Sequence[KeyRecord]]:
        with translated():
            rows = self._connection.execute(_CHANGES, (after,)).fetchall()
        return rows[-1][0] if rows else after, [_record(row[1:]) for row in rows]

    def record(self, key_id: str) -> KeyRecord | None:
        with translated():
            return self._select(key_id)

    def keep(self, records: Sequence[KeyRecord]) -> Sequence[KeyRecord]:
        unfit = []
        with writing(self._connection):
            free = self._free()
            for record in records:
                ours = self._select(record.key.id)
                if ours is not None and stamp(ours) >= stamp(record):
                    continue  # another process on this file was here before
                if ours is None and free > 0:
                    free -= 1
                elif ours is None and not self._drop_longest_revoked():
                    unfit.append(record)
                    continue
                self._copies.pop(record.key.id, None)
                try:
                    self._save(record)
                except sqlite3.IntegrityError:  # a value that the table does not take, such as NaN
                    unfit.append(record)
        return unfit

    def close(self) -> None:
        self._copies.clear()
        self._connection.close()

    def _copy(self, key_id: str) -> KeyRecord | None:
        """The record, from memory while no other connection has committed. An unknown id is not kept."""
        try:
            # The version comes first: a commit between the two reads makes the copy newer than its version,
            # which costs one more read later; the other way round, the copy would stay old.
            version = self._connection.execute("PRAGMA data_version").fetchone()
            if version != self._copied_at_version:
                self._copies.clear()
                self._copied_at_version = version
            record = self._copies.get(key_id)
            if record is not None:
                return record
            record = self._select(key_id)
        except sqlite3.Error as error:
            raise Unavailable("The key store cannot be used now.", retry_after_s=1.0) from error
        if record is not None:
            if len(self._copies) >= self._max_copied:
                del self._copies[next(iter(self._copies))]
            self._copies[key_id] = record
        return record

    def _existing(self, key_id: str) -> KeyRecord:
        """The record to be changed in a transaction.

        Our own commits do not move the version: the copy goes here.
        """
        self._copies.pop(key_id, None)
        return key_records.existing(self._select(key_id))

    def _select(self, key_id: str) -> KeyRecord | None:
        row = self._connection.execute(f"{_SELECT} WHERE id = ?", (key_id,)).fetchone()
        return _record(row) if row is not None else None

    def _save(self, record: KeyRecord) -> None:
        self._connection.execute(_SAVE, _row(record))

    def _free_id(self) -> str:
        key_id = key_records.new_key_id()
        while self._select(key_id) is not None:
            key_id = key_records.new_key_id()
        return key_id

    def _make_room(self) -> None:
        if self._free() <= 0 and not self._drop_longest_revoked():
            raise key_records.store_full(self._max_keys)

    def _free(self) -> int:
        (count,) = self._connection.execute("SELECT COUNT(*) FROM api_keys").fetchone()
        return self._max_keys - int(count)

    def _drop_longest_revoked(self) -> bool:
        """False if no key is revoked. The dropped one's copy needs no care: it says that the key is revoked."""
        return self._connection.execute(_DROP_LONGEST_REVOKED).rowcount > 0


def _row(record: KeyRecord) -> tuple[str | bytes | float | None, ...]:
    """The values of _COLUMNS."""
    key = record.key
    return (
        key.id,
        record.digest,
        record.previous,
        key.name,
        key.tenant,
        key.weight,
        None if key.models is None else json.dumps(key.models),
        key.expires_at,
        _pace_text(key.pace),
        key.limits.requests_per_minute,
        key.limits.tokens_per_minute,
        key.limits.concurrent_streams,
        key.created_at,
        key.rotated_at,
        key.previous_until,
        key.revoked_at,
        record.version,
    )


def _pace_text(pace: PaceSpec | None) -> str | None:
    if pace is None:
        return None
    return json.dumps(pace if isinstance(pace, str) else dict(pace))


def _record(row: tuple[Any, ...]) -> KeyRecord:
    """The inverse of `_row`."""
    key_id, digest, previous, name, tenant, weight, models, expires_at, pace, *rest = row
    requests, tokens, streams, created_at, rotated_at, previous_until, revoked_at, version = rest
    key = ApiKey(
        id=key_id,
        name=name,
        tenant=tenant,
        created_at=created_at,
        weight=weight,
        models=tuple(json.loads(models)) if models is not None else None,
        expires_at=expires_at,
        pace=json.loads(pace) if pace is not None else None,
        limits=Limits(requests, tokens, streams),
        rotated_at=rotated_at,
        previous_until=previous_until,
        revoked_at=revoked_at,
    )
    return KeyRecord(key, digest, previous, version)
