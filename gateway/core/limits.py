"""What a key may use: requests and tokens a minute, and streams at the same time.

Rules of this file. Time is an argument (seconds, any origin, never read here); going backwards is taken as
standing still. Every method runs to its end without giving up control, so a reservation is atomic in one
process: either all of a request's allowances are taken or none.

A request is reserved at admission with an estimate of its tokens, settled with the running total as tokens
come, and released at its end. Used tokens beyond the estimate are charged at once, and may drive the bucket
below zero: the next request waits, the running one is not cut. With `held` the reserved tokens not yet used
at the window's start and `excess` the tokens used beyond their estimate inside it, over any window of
length T

    tokens used <= capacity + rate * T + held + excess

A reservation that is not settled for `ttl_s` seconds is taken for lost: its slot and its unused tokens are
given back.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from gateway.core.buckets import Allowance, TokenBucket, rate_limit_headers
from gateway.errors import RateLimited, TooManyStreams

_ACCOUNTS_LOOKED_AT: Final = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one key, each at least 1 (else ValueError); None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_streams: int | None = None

    def __post_init__(self) -> None:
        for limit in (self.requests_per_minute, self.tokens_per_minute, self.concurrent_streams):
            if limit is not None and limit < 1:
                raise ValueError(f"a limit is at least 1, not {limit}: revoke the key instead")


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class LimitState:
    """Where a key stands; None for what is not limited."""

    requests: Allowance | None
    tokens: Allowance | None

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`; reset as `12ms` or `1m30s`."""
        return rate_limit_headers(self.requests, self.tokens)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The right to run one request, to be settled and released by whoever reserved it.

    `id` is unique in its store, 0 where nothing is held for a key without limits; `tokens` is the estimate, `state`
    where the key stood right after reserving.
    """

    id: int
    key_id: str
    tokens: int
    state: LimitState


@dataclass(slots=True)
class _Account:
    """What is known of one key."""

    requests: TokenBucket | None = None
    tokens: TokenBucket | None = None
    streams: int = 0

    def fit(self, limits: Limits, now: float) -> None:
        """Take over limits that may have changed since the last request."""
        self.requests = _fitted(self.requests, limits.requests_per_minute, now)
        self.tokens = _fitted(self.tokens, limits.tokens_per_minute, now)

    def state(self, now: float) -> LimitState:
        return LimitState(
            requests=self.requests.allowance(now) if self.requests else None,
            tokens=self.tokens.allowance(now) if self.tokens else None,
        )

    def forgettable(self, now: float) -> bool:
        """Whether a new account would be the same."""
        return all(bucket is None or bucket.full(now) for bucket in (self.requests, self.tokens))


@dataclass(slots=True)
class _Hold:
    """A live reservation. It keeps the bucket it was charged to: limits may change under a running stream."""

    key_id: str
    account: _Account
    bucket: TokenBucket | None
    charged: int
    expires_at: float
    used: int = 0


class RateLimiter:
    """All keys' limits in one process.

    `ttl_s` is the longest time in seconds between two settlements of a live reservation. Memory: one hold
    for each live stream, and at most `max_idle_keys` keys without one, of which those whose buckets are
    full are forgotten early. If more keys than that were active within the last minute, the longest idle is
    forgotten with a bucket that is not full yet, which forgives it what was missing.
    """

    def __init__(self, *, ttl_s: float = 600.0, max_idle_keys: int = 10_000, stream_retry_s: float = 1.0) -> None:
        self._ttl_s = ttl_s
        self._max_idle_keys = max_idle_keys
        self._stream_retry_s = stream_retry_s
        self._holds: OrderedDict[int, _Hold] = OrderedDict()  # in the order in which they expire
        self._busy: dict[str, _Account] = {}  # with streams
        self._idle: OrderedDict[str, _Account] = OrderedDict()  # without, the longest idle first
        self._last_id = 0

    def __repr__(self) -> str:
        return f"<RateLimiter {len(self._holds)} streams, {len(self._busy)} keys busy, {len(self._idle)} idle>"

    def reserve(self, key_id: str, limits: Limits, tokens_estimate: int, now: float) -> Reservation:
        """Take one request, one stream and `tokens_estimate` tokens, or nothing.

        Raises TooManyStreams or RateLimited. `retry_after_s` is then the exact time until the buckets hold
        enough, if nothing else takes from them; None if the request is larger than the limit itself. When a
        stream will end is not known: TooManyStreams suggests `stream_retry_s`.
        """
        if tokens_estimate < 0:
            raise ValueError(f"an estimate of {tokens_estimate} tokens")
        self.expire(now)
        account = self._busy.get(key_id) or self._idle.get(key_id) or _Account()
        account.fit(limits, now)
        self._check(account, limits, tokens_estimate, now)
        if account.requests:
            account.requests.charge(1, now)
        if account.tokens:
            account.tokens.charge(tokens_estimate, now)
        account.streams += 1
        self._idle.pop(key_id, None)
        self._busy[key_id] = account
        self._last_id += 1
        self._holds[self._last_id] = _Hold(
            key_id, account, account.tokens, charged=tokens_estimate, expires_at=now + self._ttl_s
        )
        return Reservation(self._last_id, key_id, tokens_estimate, account.state(now))

    def settle(self, reservation: Reservation, used_total: int, now: float) -> bool:
        """Report all tokens used so far; repeating a total, or reporting a smaller one, changes no charge.

        It also shows that the stream is alive. False: the reservation is not held any more (released, or
        expired).
        """
        hold = self._holds.get(reservation.id)
        if hold is None:
            return False
        self._use(hold, used_total, now)
        hold.expires_at = now + self._ttl_s
        self._holds.move_to_end(reservation.id)
        return True

    def release(self, reservation: Reservation, used_total: int, now: float) -> None:
        """End a reservation: refund what was not used and free the stream. Once ended, it does nothing.

        The request stays counted: a client that aborts has made it all the same.
        """
        hold = self._holds.pop(reservation.id, None)
        if hold is not None:
            self._end(hold, used_total, now)

    def cancel(self, reservation: Reservation, now: float) -> None:
        """Undo a reservation whose request never became a job: the request itself is given back too."""
        hold = self._holds.pop(reservation.id, None)
        if hold is not None:
            self._end(hold, 0, now)
            if hold.account.requests:
                hold.account.requests.refund(1, now)

    def state(self, key_id: str, limits: Limits, now: float) -> LimitState:
        """Where the key stands, without taking anything."""
        self.expire(now)
        account = self._busy.get(key_id) or self._idle.get(key_id) or _Account()
        account.fit(limits, now)
        return account.state(now)

    def streams(self, key_id: str) -> int:
        """How many streams the key has now."""
        account = self._busy.get(key_id)
        return account.streams if account else 0

    def expire(self, now: float) -> int:
        """End the reservations that nobody settled in time and forget some full keys; answer how many ended.

        Called by `reserve` and `state`; a call from elsewhere is needed only to return memory sooner.
        """
        ended = 0
        while self._holds:
            reservation_id, hold = next(iter(self._holds.items()))
            if hold.expires_at > now:
                break
            del self._holds[reservation_id]
            self._end(hold, hold.used, now)
            ended += 1
        self._forget(now)
        return ended

    def _check(self, account: _Account, limits: Limits, tokens: int, now: float) -> None:
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise RateLimited(
                f"The request may need {tokens} tokens, more than the key's limit of"
                f" {limits.tokens_per_minute} tokens per minute. Ask for fewer tokens."
            )
        if limits.concurrent_streams is not None and account.streams >= limits.concurrent_streams:
            raise TooManyStreams(
                f"The key has {account.streams} streams open, as many as it may.",
                retry_after_s=self._stream_retry_s,
            )
        wait_requests = account.requests.wait(1, now) if account.requests else 0.0
        wait_tokens = account.tokens.wait(tokens, now) if account.tokens else 0.0
        if wait_requests > 0 or wait_tokens > 0:
            what, limit = (
                ("requests", limits.requests_per_minute)
                if wait_requests >= wait_tokens
                else ("tokens", limits.tokens_per_minute)
            )
            raise RateLimited(
                f"The key's limit of {limit} {what} per minute is used up.",
                retry_after_s=max(wait_requests, wait_tokens),
            )

    def _use(self, hold: _Hold, used_total: int, now: float) -> None:
        hold.used = max(hold.used, used_total)
        if hold.used > hold.charged:
            if hold.bucket:
                hold.bucket.charge(hold.used - hold.charged, now)
            hold.charged = hold.used

    def _end(self, hold: _Hold, used_total: int, now: float) -> None:
        self._use(hold, used_total, now)
        if hold.bucket:
            hold.bucket.refund(hold.charged - hold.used, now)
        account = hold.account
        account.streams -= 1
        if account.streams == 0:
            self._idle[hold.key_id] = self._busy.pop(hold.key_id)

    def _forget(self, now: float) -> None:
        # A few from the front each time: the cost of a call stays constant, and the front is what filled up
        # first.
        for _ in range(_ACCOUNTS_LOOKED_AT):
            key_id = next(iter(self._idle), None)
            if key_id is None or not (len(self._idle) > self._max_idle_keys or self._idle[key_id].forgettable(now)):
                return
            del self._idle[key_id]


def _fitted(bucket: TokenBucket | None, per_minute: int | None, now: float) -> TokenBucket | None:
    if per_minute is None:
        return None
    if bucket is None:
        return TokenBucket(per_minute, now)
    bucket.resize(per_minute, now)
    return bucket
