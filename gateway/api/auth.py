"""Who calls: API keys for `/v1`, the administrator's key for `/admin`.

A refusal says nothing about the reason beyond "missing" or "incorrect", and never repeats what was presented.
"""

import hashlib
import hmac
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gateway.clock import Clock
from gateway.errors import Unauthenticated
from gateway.stores.base import ApiKey, KeyStore

# OpenAPI's security schemes of `/v1`.
SCHEMES: Final[Mapping[str, Mapping[str, str]]] = {
    "ApiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `Authorization: Bearer sk-...`."},
    "ApiKeyHeader": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "An API key by itself."},
}
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


class Caller:
    """Who calls `/v1`. `anonymous` is who a caller without a key is; None: keys are required.

    Usable as a dependency.
    """

    def __init__(self, keys: KeyStore, clock: Clock, anonymous: ApiKey | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._anonymous = anonymous

    async def __call__(self, request: Request) -> ApiKey:
        headers = request.headers
        if self._anonymous is not None and "authorization" not in headers and "x-api-key" not in headers:
            return self._anonymous
        return authenticate(headers, self._keys, self._clock.wall())

    @property
    def described(self) -> dict[str, Any]:
        """For an operation's description: either header will do, and none where no key is required."""
        anybody: list[dict[str, list[str]]] = [] if self._anonymous is None else [{}]
        return {"security": [{name: []} for name in SCHEMES] + anybody}


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


def guarded(check: Callable[[Mapping[str, str]], None]) -> type[APIRoute]:
    """Routes that look at the headers before the body: FastAPI would first refuse a bad body, then ask who sent it."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def checked(request: Request) -> Response:
                check(request.headers)
                await request.body()  # FastAPI takes it from here, and cannot hide that it is too large
                return await handle(request)

            return checked

    return Guarded


def _bearer(headers: Mapping[str, str]) -> str:
    """The token of a Bearer header, empty without one. The scheme's case does not matter (RFC 9110, 11.1)."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _admin_digest(secret: str) -> bytes:
    # Equal lengths for the comparison; the key itself is long and random, or its owner was warned.
    return hashlib.sha256(_ADMIN_DOMAIN + secret.encode("utf-8", "surrogatepass")).digest()
