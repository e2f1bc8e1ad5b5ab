"""A token bucket on an explicit clock, and how its state reads in HTTP headers.

The bucket starts full, holds at most one minute's allowance and refills continuously. Its level is computed
when it is asked for; nothing runs in between.
"""

import math
from dataclasses import dataclass
from typing import Final

_MINUTE_S: Final = 60.0
# Waiting exactly as long as told must be enough, so a level that misses by rounding alone counts as reached.
_RELATIVE_ROUNDING: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit as a client sees it: per minute, what is left of it now, and the seconds until all of it is
    back."""

    limit: int
    remaining: int
    reset_s: float


class TokenBucket:
    """`per_minute` tokens at most, refilled at `per_minute` / 60 tokens a second. `now` is in seconds."""

    __slots__ = ("_at", "_capacity", "_level")

    def __init__(self, per_minute: int, now: float) -> None:
        self._capacity = per_minute
        self._level = float(per_minute)
        self._at = now

    def __repr__(self) -> str:
        return f"<TokenBucket {self._level:.3f} of {self._capacity} at {self._at:.3f} s>"

    def level(self, now: float) -> float:
        """Tokens in the bucket; below zero if more was used than there was."""
        self._refill(now)
        return self._level

    def charge(self, tokens: int, now: float) -> None:
        """Take tokens, whether they are there or not."""
        self._refill(now)
        self._level -= tokens

    def refund(self, tokens: int, now: float) -> None:
        """Put tokens back, up to the brim."""
        self._refill(now)
        self._level = min(self._level + tokens, float(self._capacity))

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until `tokens` are there, 0 if they are; infinite if the bucket cannot hold so many."""
        self._refill(now)
        missing = tokens - self._level
        if missing <= self._rounding:
            return 0.0
        if tokens > self._capacity:
            return math.inf
        return missing * _MINUTE_S / self._capacity

    def full(self, now: float) -> bool:
        """Whether nothing is missing."""
        return self.wait(self._capacity, now) == 0.0

    def resize(self, per_minute: int, now: float) -> None:
        """Change the limit; the same share of it stays used."""
        if per_minute == self._capacity:
            return
        self._refill(now)
        self._level *= per_minute / self._capacity
        self._capacity = per_minute

    def allowance(self, now: float) -> Allowance:
        """The bucket's state for a client."""
        self._refill(now)
        remaining = max(0, math.floor(self._level + self._rounding))
        return Allowance(
            limit=self._capacity,
            remaining=min(remaining, self._capacity),
            reset_s=self.wait(self._capacity, now),
        )

    @property
    def _rounding(self) -> float:
        return self._capacity * _RELATIVE_ROUNDING

    def _refill(self, now: float) -> None:
        if now > self._at:
            refilled = self._level + (now - self._at) * self._capacity / _MINUTE_S
            self._level = min(refilled, float(self._capacity))
            self._at = now


def rate_limit_headers(requests: Allowance | None, tokens: Allowance | None) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, without those that are not limited."""
    headers: dict[str, str] = {}
    for name, allowance in (("requests", requests), ("tokens", tokens)):
        if allowance is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(allowance.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining)
            headers[f"x-ratelimit-reset-{name}"] = format_duration(allowance.reset_s)
    return headers


def format_duration(seconds: float) -> str:
    """A time as OpenAI's headers write it, rounded up: `0s`, `12ms`, `1s`, `1m30s`, `2h0m5s`."""
    milliseconds = math.ceil(seconds * 1000 - _RELATIVE_ROUNDING)
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
