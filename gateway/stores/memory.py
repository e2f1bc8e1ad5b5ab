"""Stores that forget everything when the process ends: for tests, and limits in a lone gateway."""

from collections.abc import Iterable, Sequence
from itertools import islice

from gateway.core.limits import Limits, LimitState, RateLimiter, Reservation
from gateway.stores import key_records
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_records import KeyRecord


class MemoryKeyStore:
    """The port `KeyStore` (and `RecordStore`) over a dict, at most `max_keys` of them."""

    def __init__(self, *, max_keys: int = key_records.MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._records: dict[str, KeyRecord] = {}

    def __repr__(self) -> str:
        return f"<MemoryKeyStore {len(self._records)} keys>"

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        record, issued = key_records.made(self._free_id(), new, now)
        self._make_room()
        self._records[record.key.id] = record
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
        self._records[key_id] = record
        return record.key

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        record, issued = key_records.rotated(self._record(key_id), now, grace_s)
        self._records[key_id] = record
        return issued

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        record = key_records.revoked(self._record(key_id), now)
        self._records[key_id] = record
        return record.key

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        key_id = key_records.key_id_of(secret)
        record = self._records.get(key_id) if key_id is not None else None
        return key_records.matching(record, secret, now)

    def close(self) -> None:
        self._records.clear()

    def records(self) -> Iterable[KeyRecord]:
        return tuple(self._records.values())

    def record(self, key_id: str) -> KeyRecord | None:
        return self._records.get(key_id)

    def keep(self, record: KeyRecord) -> None:
        if record.key.id not in self._records:
            self._make_room()
        self._records[record.key.id] = record

    def touched(self) -> bool:
        return False

    def _record(self, key_id: str) -> KeyRecord:
        return key_records.existing(self._records.get(key_id))

    def _free_id(self) -> str:
        key_id = key_records.new_key_id()
        while key_id in self._records:
            key_id = key_records.new_key_id()
        return key_id

    def _make_room(self) -> None:
        if len(self._records) < self._max_keys:
            return
        ends = [(key.revoked_at, key.id) for key in self._keys() if key.revoked_at is not None]
        if not ends:
            raise key_records.store_full(self._max_keys)
        del self._records[min(ends)[1]]

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
