"""Keys of several gateways: each has all of them in a store of its own, and tells the others through Redis.

A change is made here first, then sent on by a task (`run`), within milliseconds while Redis is there. Others hear of it
by a message; the log of changes in Redis, looked at twice a second, heals a message that was lost. Whenever Redis has
been away, both sides are compared: an empty Redis is filled again, and what was changed meanwhile is exchanged. Of two
copies of a key the later one stays, and a revoked one always (`key_codec.stamp`).
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.errors import Unavailable
from gateway.stores import key_codec
from gateway.stores.base import ApiKey, IssuedKey, KeyChanges, NewKey
from gateway.stores.key_records import MAX_KEYS, KeyRecord, RecordStore
from gateway.stores.redis_commands import Call, Command, Script
from gateway.stores.redis_link import RedisLink

LOOK_S: Final = 0.5  # between two looks at the log of changes, and at changes that the command line made here
PAGE: Final = 200

# Keep a copy if it is later than the one there. KEYS: records, stamps, log of changes, number of the last change.
_PUT: Final = Script("""
local before = redis.call('HGET', KEYS[2], ARGV[1])
if before and before >= ARGV[2] then return 0 end
if not before and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[3], redis.call('INCR', KEYS[4]), ARGV[1])
redis.call('PUBLISH', ARGV[5], ARGV[3])
return 1
""")


class RedisKeyStore:
    """The port `KeyStore`: a local store, kept equal to those of other gateways."""

    def __init__(self, local: RecordStore, link: RedisLink, *, max_keys: int = MAX_KEYS) -> None:
        self.rejected = 0  # copies that could not be kept or read
        self.met = False  # whether Redis and we have had the same keys once, since the start
        self._local = local
        self._link = link
        self._max_keys = max_keys
        self._names = [link.key("keys", "all", part) for part in ("records", "stamps", "log", "last")]
        self._channel = link.key("keys", "all", "changed")
        self._stamps: dict[str, str] = {}
        self._unsent: set[str] = set()
        self._heard: list[bytes] = []  # copies that came just now
        self._noted = 0  # the number of the last change in our store that we know
        self._seen = 0  # and of the last one in Redis
        self._compared = False
        self._wake = asyncio.Event()
        self._note()
        link.listen(self)
        link.subscribe(self._channel, self._hear)

    def __repr__(self) -> str:
        return f"<RedisKeyStore {len(self._stamps)} keys, {len(self._unsent)} unsent>"

    # ---- KeyStore

    def create(self, new: NewKey, *, now: float) -> IssuedKey:
        issued = self._local.create(new, now=now)
        self._changed(issued.key.id)
        return issued

    def list(self, *, after: str | None = None, limit: int = 100) -> Sequence[ApiKey]:
        return self._local.list(after=after, limit=limit)

    def get(self, key_id: str) -> ApiKey:
        return self._local.get(key_id)

    def update(self, key_id: str, changes: KeyChanges) -> ApiKey:
        key = self._local.update(key_id, changes)
        self._changed(key_id)
        return key

    def rotate(self, key_id: str, *, now: float, grace_s: float = 0.0) -> IssuedKey:
        issued = self._local.rotate(key_id, now=now, grace_s=grace_s)
        self._changed(key_id)
        return issued

    def revoke(self, key_id: str, *, now: float) -> ApiKey:
        key = self._local.revoke(key_id, now=now)
        self._changed(key_id)
        return key

    def find(self, secret: str, *, now: float) -> ApiKey | None:
        return self._local.find(secret, now=now)

    def close(self) -> None:
        self._local.close()

    # ---- Listener

    def changed(self, available: bool) -> None:
        """After a break both sides are compared as a whole."""
        self._compared = False
        if available:
            self._wake.set()

    def emptied(self) -> None:
        """An empty Redis is filled again."""
        self.changed(True)

    # ---- the exchange

    @property
    def unsent(self) -> int:
        """Changes of ours that Redis does not have, as far as we know."""
        return len(self._unsent)

    @property
    def settled(self) -> bool:
        """Whether Redis has all that we have, as far as we know."""
        return self._compared and not self._unsent

    async def run(self) -> None:
        """Exchange for ever: what changes here at once, what changes there when a message says so, or soon after."""
        while True:
            await self._link.wait()
            self._wake.clear()
            try:
                self._note()
                if not self._compared:
                    await self._compare()
                await self._send_on()
                await self._catch_up()
                self.met = self.met or self.settled
            except Unavailable:
                self._compared = False
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _compare(self) -> None:
        """Both sides as a whole: theirs is taken where it is later, ours is sent where it is."""
        _, stamps, _, last = self._names
        self._compared = True
        seen = int(await self._link.do("GET", last) or 0)
        theirs: dict[str, str] = {}
        cursor: bytes | str = "0"
        while True:
            cursor, found = await self._link.do("HSCAN", stamps, cursor, "COUNT", PAGE)
            pairs = iter(found)
            theirs.update((name.decode(), mark.decode()) for name, mark in zip(pairs, pairs, strict=True))
            if cursor == b"0":
                break
        await self._take([name for name, mark in theirs.items() if mark > self._stamps.get(name, "")])
        self._unsent |= {name for name, mark in self._stamps.items() if mark > theirs.get(name, "")}
        self._seen = seen

    async def _send_on(self) -> None:
        """Our changes; what cannot be sent now stays unsent."""
        while self._unsent:
            names = list(self._unsent)[:PAGE]
            commands: list[Command] = []
            for name in names:
                record = self._local.record(name)
                if record is not None:
                    mark, data = key_codec.stamp(record), key_codec.packed(record)
                    commands.append(Call(_PUT, self._names, [name, mark, data, 2 * self._max_keys, self._channel]))
            self._unsent.difference_update(names)
            try:
                await self._link.batch(commands)
            except Unavailable:
                self._unsent.update(names)
                raise

    async def _catch_up(self) -> None:
        """What was changed since we looked last, whether or not its message came."""
        _, _, log, last = self._names
        seen = int(await self._link.do("GET", last) or 0)
        if seen < self._seen:  # an older copy of Redis' data: compare from the start
            self._compared = False
            self._wake.set()
        elif seen > self._seen:
            names = await self._link.do("ZRANGE", log, f"({self._seen}", "+inf", "BYSCORE")
            await self._take([name.decode() for name in names])
            self._seen = seen

    async def _take(self, names: Iterable[str]) -> None:
        wanted = list(names)
        for start in range(0, len(wanted), PAGE):
            found = await self._link.do("HMGET", self._names[0], *wanted[start : start + PAGE])
            self._keep([data for data in found if data is not None])

    def _hear(self, data: bytes) -> None:
        """A message with a copy of a key, from whoever made it; kept with those that come at the same moment."""
        if not self._heard:
            asyncio.get_running_loop().call_soon(self._keep_heard)
        self._heard.append(data)

    def _keep_heard(self) -> None:
        heard, self._heard = self._heard, []
        try:
            self._keep(heard)
        except Unavailable:
            self._compared = False  # they are asked for again

    def _keep(self, copies: Iterable[bytes]) -> None:
        """What is later than ours, in one transaction of our store. Unavailable."""
        later: dict[str, KeyRecord] = {}
        marks: dict[str, str] = {}
        for data in copies:
            try:
                record = key_codec.unpacked(data)
                name, mark = record.key.id, key_codec.stamp(record)
                if mark > marks.get(name, self._stamps.get(name, "")):
                    later[name], marks[name] = record, mark
            except ValueError:
                self.rejected += 1
        if not later:
            return
        for record in self._local.keep(list(later.values())):
            self.rejected += 1
            del marks[record.key.id]
        self._stamps.update(marks)

    def _changed(self, key_id: str) -> None:
        record = self._local.record(key_id)
        if record is not None:
            self._stamps[key_id] = key_codec.stamp(record)
            self._unsent.add(key_id)
        self._wake.set()

    def _note(self) -> None:
        """What another process changed in our store counts as ours. Unavailable."""
        self._noted, records = self._local.changes(self._noted)
        for record in records:
            name, mark = record.key.id, key_codec.stamp(record)
            if self._stamps.get(name) != mark:
                self._stamps[name] = mark
                self._unsent.add(name)
        if len(self._stamps) > 2 * self._max_keys:  # many are of keys that gave way
            there = {record.key.id for record in self._local.changes(0)[1]}
            self._stamps = {name: mark for name, mark in self._stamps.items() if name in there}
