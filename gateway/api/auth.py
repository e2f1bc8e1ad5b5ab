"""Who calls: API keys for `/v1`, the administrator's key for `/admin`.

A refusal says nothing about the reason beyond "missing" or "incorrect", and never repeats what was presented.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from gateway.errors import Unauthenticated
from gateway.stores.base import ApiKey, KeyStore

_ADMIN_DOMAIN: Final = b"andante admin key v1\x00"


def authenticate(headers: Mapping[str, str], key_store: KeyStore, wall_now: float) -> ApiKey:
    """The key behind `Authorization: Bearer sk-...` or `x-api-key: sk-...`; the first counts if both are there.

    Header names are lower case or the mapping does not mind; `wall_now` is Unix time in seconds. Raises
    Unauthenticated, or Unavailable if the store cannot be read.
    """
    secret = _bearer(headers) or headers.get("x-api-key", "").strip()
    if not secret:
        raise Unauthenticated(
            "You didn't provide an API key. Provide it in an Authorization header using Bearer auth"
            " (Authorization: Bearer YOUR_KEY)."
        )
    key = key_store.find(secret, now=wall_now)
    if key is None:
        raise Unauthenticated("Incorrect API key provided.")
    return key


class AdminAuth:
    """The administrator's key, kept as a hash; it is no API key, and no API key opens `/admin`."""

    def __init__(self, secret: str) -> None:
        self._digest = _admin_digest(secret)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise Unauthenticated unless the headers hold `Authorization: Bearer` and the administrator's key."""
        presented = _bearer(headers)
        if not presented:
            raise Unauthenticated("You didn't provide the admin key (Authorization: Bearer ADMIN_KEY).")
        if not hmac.compare_digest(self._digest, _admin_digest(presented)):
            raise Unauthenticated("Incorrect admin key provided.")


def _bearer(headers: Mapping[str, str]) -> str:
    """The token of a Bearer header, empty without one. The scheme's case does not matter (RFC 9110, 11.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _admin_digest(secret: str) -> bytes:
    # Equal lengths for the comparison; the key itself is long and random, or its owner was warned.
    return hashlib.sha256(_ADMIN_DOMAIN + secret.encode("utf-8", "surrogatepass")).digest()
