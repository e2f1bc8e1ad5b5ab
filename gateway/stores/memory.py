"""Stores that forget everything when the process ends: for tests, and limits in a lone gateway."""

from collections.abc import Sequence
from itertools import islice, takewhile

from gateway.core.limits import Limits, LimitState, RateLimiter, Reservation
from gateway.stores import key_records
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_codec import stamp
from gateway.stores.key_records import KeyRecord


class MemoryKeyStore:
    """The port `KeyStore` (and `RecordStore`) over a dict, at most `max_keys` of them."""

    def __init__(self, *, max_keys: int = key_records.MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._records: dict[str, KeyRecord] = {}
        self._numbers: dict[str, int] = {}  # of each key's last change, in their order
        self._last = 0

    def __repr__(self) -> str:
        return f"<MemoryKeyStore {len(self._records)} keys>"

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        record, issued = key_records.made(self._free_id(), new, now)
        self._make_room()
        self._save(record)
        return issued

    def list(self, *, after: str | None = None, limit: int = 100) -> Sequence[ApiKey]:
        records = iter(self._records.values())
        if after is not None:
            self._record(after)
            for record in records:
                if record.key.id == after:
                    break
        return [record.key for record in islice(records, limit)]

    def get(self, key_id: str) -> ApiKey:
        return self._record(key_id).key

    def update(self, key_id: str, changes: KeyChanges) -> ApiKey:
        record = key_records.changed(self._record(key_id), changes)
        self._save(record)
        return record.key

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        record, issued = key_records.rotated(self._record(key_id), now, grace_s)
        self._save(record)
        return issued

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        record = key_records.revoked(self._record(key_id), now)
        self._save(record)
        return record.key

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        key_id = key_records.key_id_of(secret)
        record = self._records.get(key_id) if key_id is not None else None
        return key_records.matching(record, secret, now)

    def close(self) -> None:
        self._records.clear()
        self._numbers.clear()

    def changes(self, after: int) -> tuple[int, Sequence[KeyRecord]]:
        new = takewhile(lambda key_id: self._numbers[key_id] > after, reversed(self._numbers))
        return self._last, [self._records[key_id] for key_id in new][::-1]

    def record(self, key_id: str) -> KeyRecord | None:
        return self._records.get(key_id)

    def keep(self, records: Sequence[KeyRecord]) -> Sequence[KeyRecord]:
        without_room = []
        for record in records:
            ours = self._records.get(record.key.id)
            if ours is not None and stamp(ours) >= stamp(record):
                continue
            if ours is None and not self._has_room():
                without_room.append(record)
                continue
            self._save(record)
        return without_room

    def _save(self, record: KeyRecord) -> None:
        self._records[record.key.id] = record
        self._last += 1
        self._numbers.pop(record.key.id, None)
        self._numbers[record.key.id] = self._last

    def _record(self, key_id: str) -> KeyRecord:
        return key_records.existing(self._records.get(key_id))

    def _free_id(self) -> str:
        key_id = key_records.new_key_id()
        while key_id in self._records:
            key_id = key_records.new_key_id()
        return key_id

    def _make_room(self) -> None:
        if not self._has_room():
            raise key_records.store_full(self._max_keys)

    def _has_room(self) -> bool:
        """The longest revoked key gives way where there is none."""
        if len(self._records) < self._max_keys:
            return True
        ends = [(key.revoked_at, key.id) for key in self._keys() if key.revoked_at is not None]
        if not ends:
            return False
        gone = min(ends)[1]
        del self._records[gone], self._numbers[gone]
        return True

    def _keys(self) -> Sequence[ApiKey]:
        return [record.key for record in self._records.values()]


class MemoryLimitStore:
    """The port `LimitStore` of a lone gateway: every call is done when it returns."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def __repr__(self) -> str:
        return f"<MemoryLimitStore {self._limiter!r}>"

    async def reserve(self, key_id: str, limits: Limits, tokens_estimate: int, *, now: float) -> Reservation:
        return self._limiter.reserve(key_id, limits, tokens_estimate, now)

    def settle(self, reservation: Reservation, used_total: int, *, now: float) -> bool:
        return self._limiter.settle(reservation, used_total, now)

    def release(self, reservation: Reservation, used_total: int, *, now: float) -> None:
        self._limiter.release(reservation, used_total, now)

    def take_over(self, reservation: Reservation, *, now: float) -> Reservation:  # noqa: ARG002 - nobody shares this one
        return reservation

    def leave(self, reservation: Reservation, *, now: float) -> None:
        self._limiter.cancel(reservation, now)

    def cancel(self, reservation: Reservation, *, now: float) -> None:
        self._limiter.cancel(reservation, now)

    async def state(self, key_id: str, limits: Limits, *, now: float) -> LimitState:
        return self._limiter.state(key_id, limits, now)
