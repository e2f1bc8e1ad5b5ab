"""Limits that hold for all gateways together: reserved in Redis, settled here and sent on once a second.

While Redis is away each gateway goes on alone with its share, the limit divided by the gateways that were there last,
so that together they exceed no limit, and a single one that is cut off exceeds it by its share at most. What was used
meanwhile is told when Redis is back. An empty Redis learns the levels and the streams again from those who know them.

A key without limits is not asked about: nothing is held for its streams, also if it gets limits while they run.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.limits import NO_LIMITS, Limits, LimitState, RateLimiter, Reservation
from gateway.errors import RateLimited, Unavailable
from gateway.stores.redis_commands import Argument, Call, Script, accepted
from gateway.stores.redis_limit_scripts import RESERVE, SETTLE, STATE, allowance, check, too_many
from gateway.stores.redis_link import RedisLink

SEND_S: Final = 1.0
CALM_ROUNDS: Final = 5  # of them, to the next report of a stream that stays within its estimate
RETRY_S: Final = 0.5  # a connection that broke under a reservation is waited for so long
MAX_UNSENT: Final = 20_000
MAX_KNOWN: Final = 10_000
_UNLIMITED: Final = LimitState(None, None)
_NOTHING_HELD: Final = 0  # the number of a reservation that needs none

Levels = tuple[float, float]


@dataclass(slots=True)
class _Hold:
    """One of our reservations. `base`: what Redis has charged; `alone`: its twin, if made while Redis was away."""

    key_id: str
    base: int
    used: int
    told_at: float
    fate: str = "live"
    alone: Reservation | None = None

    @property
    def urgent(self) -> bool:
        """Whether others must know soon: it has ended, or used more than was charged."""
        return self.fate != "live" or self.used > self.base


class RedisLimitStore:
    """The port `LimitStore`. `gateways`: how many share the limits now; `time` replaces Redis' clock in tests (s)."""

    def __init__(
        self,
        link: RedisLink,
        *,
        ttl_s: float = 600.0,
        gateways: Callable[[], int] = lambda: 1,
        time: Callable[[float], float] | None = None,
    ) -> None:
        self.alone = 0  # reservations that were made without Redis
        self._link = link
        self._ttl_s = ttl_s
        self._gateways = gateways
        self._time = time
        self._limiter = RateLimiter(ttl_s=ttl_s)  # for the time alone
        self._holds: dict[int, _Hold] = {}
        self._unsent: dict[str, dict[int, _Hold]] = {}  # by their keys
        self._known: dict[str, tuple[Levels, float]] = {}  # a key's levels, and when (local time)
        link.listen(self)

    def __repr__(self) -> str:
        return f"<RedisLimitStore {len(self._holds)} streams, {len(self._unsent)} unsent>"

    # ---- LimitStore

    async def reserve(self, key_id: str, limits: Limits, tokens_estimate: int, *, now: float) -> Reservation:
        if limits == NO_LIMITS:
            return Reservation(_NOTHING_HELD, key_id, tokens_estimate, _UNLIMITED)
        if limits.tokens_per_minute is not None and tokens_estimate > limits.tokens_per_minute:
            raise RateLimited(
                f"The request may need {tokens_estimate} tokens, more than the key's limit of"
                f" {limits.tokens_per_minute} tokens per minute. Ask for fewer tokens."
            )
        number = 1 + secrets.randbits(62)
        asked = [*self._hints(key_id, limits, now), str(number), tokens_estimate]
        try:
            verdict, wait, *levels, streams = await self._ask(RESERVE, key_id, limits, asked, now)
        except Unavailable:
            return self._reserve_alone(number, key_id, limits, tokens_estimate, now)
        except asyncio.CancelledError:  # Redis may have it all the same, and nobody would end it
            self._note(number, _Hold(key_id, tokens_estimate, 0, now, fate="cancel"), 0, now)
            raise
        check(verdict.decode(), float(wait), streams, limits)
        self._holds[number] = _Hold(key_id, tokens_estimate, 0, now)
        return Reservation(number, key_id, tokens_estimate, self._learn(key_id, limits, levels, now))

    def settle(self, reservation: Reservation, used_total: int, *, now: float) -> bool:
        hold = self._holds.get(reservation.id)
        if hold is None:
            return False
        if now - hold.told_at >= self._ttl_s:
            del self._holds[reservation.id]
            return False
        self._note(reservation.id, hold, used_total, now)
        if hold.alone is not None:
            self._limiter.settle(hold.alone, used_total, now)
        return True

    def release(self, reservation: Reservation, used_total: int, *, now: float) -> None:
        self._end(reservation, used_total, now, "end")

    def take_over(self, reservation: Reservation, *, now: float) -> Reservation:
        if reservation.id != _NOTHING_HELD:
            self._holds[reservation.id] = _Hold(reservation.key_id, reservation.tokens, 0, now)
        return reservation

    def leave(self, reservation: Reservation, *, now: float) -> None:
        hold = self._holds.pop(reservation.id, None)
        if hold is not None:
            self._unsent.get(hold.key_id, {}).pop(reservation.id, None)
            if hold.alone is not None:
                self._limiter.release(hold.alone, hold.used, now)

    def cancel(self, reservation: Reservation, *, now: float) -> None:
        self._end(reservation, 0, now, "cancel")

    async def state(self, key_id: str, limits: Limits, *, now: float) -> LimitState:
        if limits == NO_LIMITS:
            return _UNLIMITED
        try:
            levels = await self._ask(STATE, key_id, limits, [], now)
        except Unavailable:
            return self._limiter.state(key_id, self._share(limits), now)
        return self._learn(key_id, limits, levels, now)

    # ---- Listener

    def changed(self, available: bool) -> None:
        """Nothing is lost by it: what is unsent waits."""

    def emptied(self) -> None:
        """Every stream of ours takes its place again."""
        for number, hold in self._holds.items():
            self._unsent.setdefault(hold.key_id, {})[number] = hold

    # ---- talking to Redis

    async def run(self, now: Callable[[], float]) -> None:
        """Send on what was settled, for ever; `now` is the clock of the other calls. Ends, and use beyond the estimate,
        once a second, the rest less often."""
        rounds = 0
        while True:
            await asyncio.sleep(SEND_S)
            await self._link.wait()
            rounds += 1
            with suppress(Unavailable):  # totals are absolute: the next report says it all
                await self.report(*self._unsent, now=now(), all_of_it=rounds % CALM_ROUNDS == 0)

    async def report(self, *key_ids: str, now: float, all_of_it: bool = True) -> None:
        """Send on what was settled for these keys. Unavailable; then it stays unsent."""
        sent: dict[str, dict[int, _Hold]] = {}
        for key_id in key_ids:
            holds = self._unsent.get(key_id, {})
            due = {number: hold for number, hold in holds.items() if all_of_it or hold.urgent}
            if due:
                sent[key_id] = due
                self._unsent[key_id] = {number: hold for number, hold in holds.items() if number not in due}
                if not self._unsent[key_id]:
                    del self._unsent[key_id]
        if not sent:
            return
        try:
            await self._link.batch([self._report(key_id, holds, now) for key_id, holds in sent.items()])
        except BaseException:
            self._put_back(sent)
            raise
        _told(sent)

    async def _ask(self, script: Script, key_id: str, limits: Limits, rest: list[Argument], now: float) -> Any:
        """What is unsent of the key, then the question. Asked twice where a connection breaks under it. Unavailable."""
        bounds = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_streams)
        head = [*self._head(now), *("" if bound is None else bound for bound in bounds)]
        sent = {key_id: holds} if (holds := self._unsent.pop(key_id, None)) else {}
        commands = [self._report(key_id, holds, now) for holds in sent.values()]
        commands.append(Call(script, self._names(key_id), [*head, *rest]))
        was_there = self._link.available
        try:
            try:
                answers = await self._link.batch(commands)
            except Unavailable:
                if not was_there:
                    raise
                await self._soon_back()
                answers = await self._link.batch(commands)
            answer = accepted(answers[-1])
        except BaseException:
            self._put_back(sent)
            raise
        _told(sent)
        return answer

    async def _soon_back(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._link.wait()

    def _report(self, key_id: str, holds: Mapping[int, _Hold], now: float) -> Call:
        arguments: list[Argument] = []
        for number, hold in holds.items():
            arguments += [str(number), hold.used, hold.base, round((now - hold.told_at) * 1000), hold.fate]
        return Call(SETTLE, self._names(key_id), [*self._head(now), *arguments])

    def _put_back(self, sent: Mapping[str, dict[int, _Hold]]) -> None:
        for key_id, holds in sent.items():
            self._unsent[key_id] = holds | self._unsent.get(key_id, {})

    def _names(self, key_id: str) -> list[str]:
        return [self._link.key("limits", key_id, part) for part in ("buckets", "holds", "charges")]

    def _head(self, now: float) -> list[Argument]:
        return ["" if self._time is None else self._time(now) * 1000, self._ttl_s * 1000]

    # ---- what is known here

    def _hints(self, key_id: str, limits: Limits, now: float) -> list[Argument]:
        """The levels that we knew, for a Redis that has forgotten them."""
        known = self._known.get(key_id)
        if known is None:
            return ["", ""]
        levels, at = known
        bounds = (limits.requests_per_minute, limits.tokens_per_minute)
        pairs = zip(levels, bounds, strict=True)
        return ["" if bound is None else level + (now - at) * bound / 60 for level, bound in pairs]

    def _learn(self, key_id: str, limits: Limits, answer: Sequence[bytes], now: float) -> LimitState:
        requests, tokens = (float(each) for each in answer)
        self._known.pop(key_id, None)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key_id] = ((requests, tokens), now)
        return LimitState(allowance(limits.requests_per_minute, requests), allowance(limits.tokens_per_minute, tokens))

    def _note(self, number: int, hold: _Hold, used_total: int, now: float) -> None:
        hold.used, hold.told_at = max(hold.used, used_total), now
        self._unsent.setdefault(hold.key_id, {})[number] = hold

    def _end(self, reservation: Reservation, used_total: int, now: float, fate: str) -> None:
        hold = self._holds.pop(reservation.id, None)
        if hold is None:
            return
        self._note(reservation.id, hold, used_total, now)
        hold.fate = fate
        if hold.alone is not None:
            if fate == "end":
                self._limiter.release(hold.alone, used_total, now)
            else:
                self._limiter.cancel(hold.alone, now)
        ended = self._unsent[hold.key_id]
        if len(ended) > MAX_UNSENT and not self._link.available:
            del ended[next(iter(ended))]  # its place in Redis ends by its age

    # ---- alone

    def _reserve_alone(self, number: int, key_id: str, limits: Limits, tokens: int, now: float) -> Reservation:
        """Within our share, as long as Redis is away."""
        share = self._share(limits)
        if share.concurrent_streams is not None:
            streams = sum(hold.key_id == key_id for hold in self._holds.values())
            if streams >= share.concurrent_streams:
                raise too_many(streams)
        if share.tokens_per_minute is not None:
            tokens = min(tokens, share.tokens_per_minute)  # what is used beyond it is charged when it is used
        alone = self._limiter.reserve(key_id, replace(share, concurrent_streams=None), tokens, now)
        self.alone += 1
        self._holds[number] = _Hold(key_id, 0, 0, now, alone=alone)
        return Reservation(number, key_id, tokens, alone.state)

    def _share(self, limits: Limits) -> Limits:
        """Our part of each limit, at least 1."""
        count = max(1, self._gateways())
        bounds = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_streams)
        return Limits(*(None if bound is None else max(1, bound // count) for bound in bounds))


def _told(sent: Mapping[str, Mapping[int, _Hold]]) -> None:
    for holds in sent.values():
        for hold in holds.values():
            hold.base = max(hold.base, hold.used)
