"""A key's record as it travels between gateways: a stamp that orders the copies of one key, and the record as JSON.

The stamp compares as text: a revoked copy is later than any that is not, else the higher version is, else the digest
decides, so that all gateways choose alike. Unknown fields are passed over, so that gateways of two versions understand
each other.
"""

import hashlib
from typing import Annotated, Any, Final

import msgspec

from gateway.core.limits import Limits
from gateway.stores.base import ApiKey
from gateway.stores.key_records import KeyRecord

_PLAIN: Final = ("id", "name", "tenant", "created_at", "weight", "expires_at", "pace")
_TIMES: Final = ("rotated_at", "previous_until", "revoked_at")


_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class _Fields(msgspec.Struct):
    """What a record must have, so that every store can keep it."""

    id: str
    name: str
    tenant: str
    created_at: float
    weight: float
    expires_at: float | None
    pace: str | dict[str, Any] | None
    rotated_at: float | None
    previous_until: float | None
    revoked_at: float | None
    models: tuple[str, ...] | None
    limits: tuple[_Count | None, _Count | None, _Count | None]
    digest: bytes
    previous: bytes | None
    version: _Count


def packed(record: KeyRecord) -> bytes:
    """The record as bytes."""
    key = record.key
    fields: dict[str, Any] = {name: getattr(key, name) for name in (*_PLAIN, *_TIMES)}
    fields["pace"] = key.pace if key.pace is None or isinstance(key.pace, str) else dict(key.pace)
    fields["models"] = key.models
    limits = key.limits
    fields["limits"] = [limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_streams]
    fields["digest"] = record.digest
    fields["previous"] = record.previous
    fields["version"] = record.version
    return msgspec.msgpack.encode(fields)


def unpacked(data: bytes) -> KeyRecord:
    """The inverse of `packed`. ValueError (msgspec.DecodeError is one) for anything else."""
    found = msgspec.msgpack.decode(data, type=_Fields)
    key = ApiKey(
        **{name: getattr(found, name) for name in (*_PLAIN, *_TIMES, "models")},
        limits=Limits(*found.limits),
    )
    return KeyRecord(key, found.digest, found.previous, found.version)


def stamp(record: KeyRecord) -> str:
    """What orders the copies of one key."""
    revoked = record.key.revoked_at is not None
    return f"{'R' if revoked else 'L'}{record.version:010d}{hashlib.sha256(packed(record)).hexdigest()[:16]}"
