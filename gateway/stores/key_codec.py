"""A key's record as it travels between gateways: a stamp that orders the copies of one key, and the record as JSON.

The stamp compares as text: a revoked copy is later than any that is not, else the higher version is, else the digest
decides, so that all gateways choose alike. Unknown fields are passed over, so that gateways of two versions understand
each other.
"""

import hashlib
from typing import Any, Final

import msgspec

from gateway.core.limits import Limits
from gateway.stores.base import ApiKey
from gateway.stores.key_records import KeyRecord

_PLAIN: Final = ("id", "name", "tenant", "created_at", "weight", "expires_at", "pace")
_TIMES: Final = ("rotated_at", "previous_until", "revoked_at")


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
    """The inverse of `packed`. KeyError, TypeError or msgspec.DecodeError for anything else."""
    fields = msgspec.msgpack.decode(data)
    models = fields["models"]
    key = ApiKey(
        **{name: fields[name] for name in (*_PLAIN, *_TIMES)},
        models=None if models is None else tuple(models),
        limits=Limits(*fields["limits"]),
    )
    return KeyRecord(key, fields["digest"], fields["previous"], fields["version"])


def stamp(record: KeyRecord) -> str:
    """What orders the copies of one key."""
    revoked = record.key.revoked_at is not None
    return f"{'R' if revoked else 'L'}{record.version:010d}{hashlib.sha256(packed(record)).hexdigest()[:16]}"
