"""Ports of the stores: API keys and limits.

A key's secret reads `sk-<id>-<random>`. It is shown once, when the key is made or rotated; stores keep only
a hash. Times of keys are Unix seconds (they are stored and shown), times of limits are monotonic seconds.

Key stores are synchronous on purpose: `find` runs on every request and answers from memory, and the local
file behind the rest answers in microseconds. A thread or a task for each call would cost more than the
call. A shared store (one that talks over the network) keeps a local copy for `find` and sends changes on
from a task of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypedDict

from gateway.core.limits import NO_LIMITS, Limits, LimitState, Reservation
from gateway.core.pace import PaceSpec

MAX_GRACE_S: Final = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as everyone but its store sees it: nothing in it is secret.

    `weight` is the tenant's share in fair scheduling (1 is normal). `models` None allows every model.
    `pace` is the key's default pace as `gateway.core.pace.pace_from_spec` reads it. While `previous_until`
    has not passed, the secret from before the last rotation is good too.
    """

    id: str
    name: str
    tenant: str
    created_at: float
    weight: float = 1.0
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    pace: PaceSpec | None = None
    limits: Limits = NO_LIMITS
    rotated_at: float | None = None
    previous_until: float | None = None
    revoked_at: float | None = None

    @property
    def prefix(self) -> str:
        """The public beginning of the secret, to recognise a key by."""
        return f"sk-{self.id}-..."

    def usable(self, now: float) -> bool:
        """Whether the key is neither revoked nor expired at Unix time `now`."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def allows(self, model: str) -> bool:
        """Whether the key may use the model."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key together with its secret, on the only occasion on which there is one."""

    key: ApiKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key is to be; without a tenant it becomes its own. Fields as in `ApiKey`."""

    name: str
    tenant: str | None = None
    weight: float = 1.0
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    pace: PaceSpec | None = None
    limits: Limits = NO_LIMITS


class KeyChanges(TypedDict, total=False):
    """What to change in a key. A missing field stays as it is; None takes a restriction away."""

    name: str
    weight: float
    models: tuple[str, ...] | None
    expires_at: float | None
    pace: PaceSpec | None
    limits: Limits


class KeyStore(Protocol):
    """API keys. `now` is Unix time in seconds.

    Every method raises Unavailable if the store cannot be read or written. A change, also one made by
    another process on the same store, is seen by the next call.
    """

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        """Make a key. Raises InvalidRequest for a bad field, or if the store is full.

        In a full store the longest revoked key gives way.
        """

    def list(self, *, after: str | None = None, limit: int = 100) -> Sequence[ApiKey]:
        """At most `limit` keys, oldest first, revoked ones too, beginning behind the key `after`.

        Raises NotFound if there is no key `after`.
        """

    def get(self, key_id: str) -> ApiKey:
        """One key, revoked or not. Raises NotFound."""

    def update(self, key_id: str, changes: KeyChanges) -> ApiKey:
        """Change a key that is not revoked. Raises NotFound, InvalidRequest."""

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        """Give the key a new secret; the present one stays good for `grace_s` seconds, any older one ends
        now.

        Raises NotFound, and InvalidRequest if the key is revoked or the grace is not within 0 and
        MAX_GRACE_S.
        """

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        """End the key at once and for ever; again is the same. Raises NotFound."""

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        """The usable key with this secret; None if there is none, whatever the reason.

        Takes the same time for an unknown key as for a wrong secret, as far as the store can see to it.
        """

    def close(self) -> None:
        """Give back what the store holds open."""


class LimitStore(Protocol):
    """Limits of keys; the meaning of each call is that of `gateway.core.limits.RateLimiter`. `now` is
    monotonic.

    Only admission waits for the store: `reserve` and `state` may cross a network. `settle` and `release`
    never wait, so that the token path has no await in it and a cancelled task can still give back what it
    holds: they count locally, and a shared store sends the sums on from a task of its own. The runtime
    settles each live stream, moving or not, at most once per tick (50 ms) and at least once per half of the
    reservation's lifetime.
    """

    async def reserve(self, key_id: str, limits: Limits, tokens_estimate: int, *, now: float) -> Reservation:
        """Take a request, a stream and the tokens, or nothing. Raises RateLimited, TooManyStreams,
        Unavailable."""

    def settle(self, reservation: Reservation, used_total: int, *, now: float) -> bool:
        """Report all tokens used so far. False if the reservation is not held any more."""

    def release(self, reservation: Reservation, used_total: int, *, now: float) -> None:
        """End a reservation and refund what was not used; idempotent."""

    def take_over(self, reservation: Reservation, *, now: float) -> Reservation:
        """Settle from now on what another gateway, now dead, has reserved; what is answered stands for it."""

    def leave(self, reservation: Reservation, *, now: float) -> None:
        """Another gateway settles it now: say nothing more of it."""

    def cancel(self, reservation: Reservation, *, now: float) -> None:
        """Undo a reservation whose request never became a job."""

    async def state(self, key_id: str, limits: Limits, *, now: float) -> LimitState:
        """Where the key stands. Raises Unavailable."""
