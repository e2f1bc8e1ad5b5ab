"""Signs of life: each gateway gives one, three times within the time after which it would count as dead.

They are kept in one sorted set, by Redis' own clock: clocks of gateways may differ. Who is silent for `ttl_s` while
Redis was there all the time is gone; while Redis is away, or was until just now, nobody is.
"""

import asyncio
from time import monotonic
from typing import Final

from gateway.errors import Unavailable
from gateway.stores.redis_commands import Script
from gateway.stores.redis_link import RedisLink

BEATS: Final = 3  # within `ttl_s`

_BEAT: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZRANGE', KEYS[1], 0, -1)
""")
_ALIVE: Final = Script("""
local time = redis.call('TIME')
local until_ = redis.call('ZSCORE', KEYS[1], ARGV[1])
return (until_ and tonumber(until_) > time[1] * 1000 + math.floor(time[2] / 1000)) and 1 or 0
""")
_BEATING: Final = Script("""
local time = redis.call('TIME')
return redis.call('ZRANGE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf', 'BYSCORE')
""")


class Heartbeat:
    """This gateway's beat (`run`, for ever), and what it knows of the others. `id` names this process."""

    def __init__(self, link: RedisLink, gateway_id: str, *, ttl_s: float = 3.0) -> None:
        self.id = gateway_id
        self.ttl_s = ttl_s
        self.alive: frozenset[str] = frozenset({gateway_id})  # at the last beat, this one too
        self._link = link
        self._key = link.key("gateways", "all")
        self._since: float | None = None
        self._at_once = asyncio.Event()
        self._left = False
        link.listen(self)

    def __repr__(self) -> str:
        return f"<Heartbeat {self.id}, {len(self.alive)} alive>"

    def changed(self, available: bool) -> None:
        """Others get their time to beat again before they count as gone."""
        self._since = monotonic() if available else None
        if available:
            self._at_once.set()

    def emptied(self) -> None:
        """All beats are lost: everybody gets their time."""
        self.changed(True)

    async def gone(self, gateway_id: str) -> bool:
        """Whether a gateway has died (or is frozen, or cut off from Redis). False while that cannot be known."""
        if self._since is None or monotonic() - self._since < self.ttl_s:
            return False
        try:
            return not await self._link.run_script(_ALIVE, [self._key], gateway_id)
        except Unavailable:
            return False

    async def leave(self) -> frozenset[str]:
        """Beat no more and count as gone from now on; who of the others lives after a beat's time. Unavailable.

        Gateways that stop together find nobody: each has left before it looks.
        """
        self._left = True
        await self._link.do("ZREM", self._key, self.id)
        await asyncio.sleep(self.ttl_s / BEATS)
        names = await self._link.run_script(_BEATING, [self._key])
        return frozenset(name.decode() for name in names) - {self.id}

    async def run(self) -> None:
        """Beat until it leaves; at once when Redis is back."""
        while not self._left:
            await self._link.wait()
            self._at_once.clear()
            try:
                names = await self._link.run_script(_BEAT, [self._key], self.id, round(self.ttl_s * 1000))
                self.alive = frozenset(name.decode() for name in names)
            except Unavailable:
                continue  # the next beat is due when it is back
            try:
                async with asyncio.timeout(self.ttl_s / BEATS):
                    await self._at_once.wait()
            except TimeoutError:
                continue
