"""What a store keeps of a key, and everything that can happen to it: made, changed, rotated, revoked,
matched.

The functions are pure but for the random secret; a store only has to keep the records that they return. A
secret is `sk-<id>-<random>`: the id finds the record, 32 random bytes prove the key. Because they are
random, one round of SHA-256 is enough: there is no dictionary to try. The hash has a domain of its own, so
that it equals no other hash of the same text elsewhere.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from gateway.errors import InvalidRequest, KeyRevoked, NotFound
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, KeyStore, NewKey
from gateway.stores.key_rules import check_changes, check_grace, check_new

KEY_ID_PATTERN: Final = "^[0-9a-f]{12}$"
MAX_KEYS: Final = 100_000

_SECRET: Final = re.compile(r"sk-([0-9a-f]{12})-[A-Za-z0-9_-]{43}")
_DOMAIN: Final = b"andante api key v1\x00"
_NO_DIGEST: Final = bytes(hashlib.sha256().digest_size)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key with the hashes of its present secret and, during a grace time, of the one before.

    `version` grows by one with each change: of two copies the later one is good, and a revoked one whatever its
    version.
    """

    key: ApiKey
    digest: bytes = field(repr=False)
    previous: bytes | None = field(default=None, repr=False)
    version: int = 1


class RecordStore(KeyStore, Protocol):
    """A key store that can take part in a larger one: its records can be read and replaced as they are."""

    def changes(self, after: int) -> tuple[int, Sequence[KeyRecord]]:
        """What anybody, other processes too, has changed since the change of that number, and the last one's number.

        0: all that is there. What has given way is not told. Unavailable.
        """

    def record(self, key_id: str) -> KeyRecord | None:
        """One of them. Unavailable."""

    def keep(self, records: Sequence[KeyRecord]) -> Sequence[KeyRecord]:
        """Keep copies from other gateways where they are later than ours (`key_codec.stamp`), all at once.

        Those that do not fit, mostly for want of room, are the answer. Unavailable: none was kept.
        """


def new_key_id() -> str:
    """Twelve random hexadecimal digits."""
    return secrets.token_hex(6)


def made(key_id: str, new: NewKey, now: float) -> tuple[KeyRecord, IssuedKey]:
    """A new key. Raises InvalidRequest for a bad field."""
    check_new(new)
    key = ApiKey(
        id=key_id,
        name=new.name,
        tenant=new.tenant if new.tenant is not None else key_id,
        created_at=now,
        weight=float(new.weight),
        models=new.models,
        expires_at=new.expires_at,
        pace=new.pace,
        limits=new.limits,
    )
    secret = _new_secret(key_id)
    return KeyRecord(key, _digest(secret)), IssuedKey(key, secret)


def changed(record: KeyRecord, changes: KeyChanges) -> KeyRecord:
    """The key with some fields changed. Raises InvalidRequest for a bad field or a revoked key."""
    _check_alive(record)
    check_changes(changes)
    return replace(record, key=replace(record.key, **changes), version=record.version + 1)


def rotated(record: KeyRecord, now: float, grace_s: float) -> tuple[KeyRecord, IssuedKey]:
    """The key with a new secret. Raises InvalidRequest for a bad grace or a revoked key."""
    _check_alive(record)
    check_grace(grace_s)
    key = replace(record.key, rotated_at=now, previous_until=now + grace_s if grace_s > 0 else None)
    secret = _new_secret(key.id)
    previous = record.digest if grace_s > 0 else None
    return KeyRecord(key, _digest(secret), previous, record.version + 1), IssuedKey(key, secret)


def revoked(record: KeyRecord, now: float) -> KeyRecord:
    """The key, ended; the first revocation's time stays."""
    if record.key.revoked_at is not None:
        return record
    return replace(record, key=replace(record.key, revoked_at=now), version=record.version + 1)


def existing(record: KeyRecord | None) -> KeyRecord:
    """The record, or NotFound."""
    if record is None:
        raise NotFound("There is no such key.")
    return record


def store_full(max_keys: int) -> InvalidRequest:
    """The error for one key more than a store may hold."""
    return InvalidRequest(f"The store holds {max_keys} keys already, none of them revoked. Revoke some first.")


def key_id_of(secret: str) -> str | None:
    """The id inside a presented secret, None if it is not a secret of ours."""
    match = _SECRET.fullmatch(secret)
    return match.group(1) if match else None


def matching(record: KeyRecord | None, secret: str, now: float) -> ApiKey | None:
    """The record's key if the secret is good for it at Unix time `now`.

    All comparisons are made whatever the record, also without one, and each in constant time.
    """
    presented = _digest(secret)
    present = record.digest if record is not None else _NO_DIGEST
    previous = record.previous if record is not None and record.previous is not None else _NO_DIGEST
    is_present = hmac.compare_digest(present, presented)
    is_previous = hmac.compare_digest(previous, presented)
    if record is None or not record.key.usable(now):
        return None
    until = record.key.previous_until
    good = is_present or (is_previous and until is not None and now < until)
    return record.key if good else None


def _check_alive(record: KeyRecord) -> None:
    if record.key.revoked_at is not None:
        raise KeyRevoked("The key is revoked.")


def _new_secret(key_id: str) -> str:
    return f"sk-{key_id}-{secrets.token_urlsafe(32)}"


def _digest(secret: str) -> bytes:
    # What was presented can be any text, also one that UTF-8 cannot express.
    return hashlib.sha256(_DOMAIN + secret.encode("utf-8", "surrogatepass")).digest()
