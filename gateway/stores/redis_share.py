"""What gateways share, in Redis: one script for each exchange, so that it is one operation and nothing comes between.

The script does what `core/ledger.py` says, on the ledger as JSON under one key; the contract tests hold the two against
each other. It asks Redis for its run id: another process may have lost the last second, so it begins a new epoch.
Tenants' totals are kept as `core/accounts.py` says, in two hashes: what is touched goes into the one of the present
era, and when an era begins, that becomes the one of the era before, whose rest is forgotten. So it is with the numbers
of messages. All keys of a pool carry its model as tag. They end two days after the last exchange.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from gateway.core.accounts import Delta
from gateway.core.ledger import Reply, Request
from gateway.stores.redis_commands import Script
from gateway.stores.redis_link import RedisLink
from gateway.stores.share import EngineRecord, Message, Sums

_KEPT_S: Final = 2 * 86_400
_MOVED: Final = b"moved "

_FIND: Final = """
local function find(now, before, name) return redis.call('HGET', now, name) or redis.call('HGET', before, name) end
local function totals(name)
  local kept = find(KEYS[1], KEYS[2], name) or '0 0 0'
  local era, charges, lifted = string.match(kept, '(%S+) (%S+) (%S+)')
  return tonumber(era), tonumber(charges), tonumber(lifted)
end
local function keep(name, era, charges, lifted)
  redis.call('HSET', KEYS[1], name, string.format('%d %.17g %.17g', era, charges, lifted))
end
"""

EXCHANGE: Final = Script(
    f"""{_FIND}"""
    """
local function nothing(t) return next(t) == nil end
local accounts, accounts_before, numbers, numbers_before, engines, book_key = unpack(KEYS)
local request, channel, kept = cjson.decode(ARGV[1]), ARGV[3], ARGV[4]
local me = request.me
local boot = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local text = redis.call('GET', book_key)
local book = text and cjson.decode(text)
local era = book and book.era or 1
if not book or book.boot ~= boot then
  book = {epoch = request.nonce, boot = boot, settled = false, arrivals = 0, members = {}, lines = {}}
end
book.era = era
local members, lines = book.members, book.lines
local before = members[me]
local function answer(late)
  return cjson.encode({
    epoch = book.epoch, settled = book.settled, members = members, lines = lines, late = late, era = book.era})
end
if before and request.seq <= before.seq then return answer(true) end
if request.era > era then
  book.era = request.era
  for now, was in pairs({[accounts] = accounts_before, [numbers] = numbers_before}) do
    redis.call('DEL', was)
    if redis.call('EXISTS', now) == 1 then redis.call('RENAME', now, was) end
  end
end
if request.settled and request.epoch == book.epoch then book.settled = true end

local function strike(engine, name)
  lines[engine][name] = nil
  if nothing(lines[engine]) then lines[engine] = nil end
end
local function clear(name)
  for _, there in pairs(lines) do if there[name] then return end end
  members[name] = nil
end
for name, seq in pairs(request.buried) do
  local member = members[name]
  if member and member.seq == seq and name ~= me then
    member.gone = true
    for _, there in pairs(lines) do if there[name] then there[name].gone = true end end
    clear(name)
  end
end
for engine, most in pairs(request.freed) do
  for name, amount in pairs(most) do
    local line = lines[engine] and lines[engine][name]
    if line and line.gone then
      line.held = {math.min(line.held[1], amount[1]), math.min(line.held[2], amount[2])}
      if line.held[1] == 0 and line.held[2] == 0 then strike(engine, name); clear(name) end
    end
  end
end

local function grant(entry, line, there)
  if not line and not book.settled then return entry.line.held end
  local held = line and line.held or {0, 0}
  if not book.settled then return {math.min(entry.ask[1], held[1]), math.min(entry.ask[2], held[2])} end
  local free = {entry.line.whole[1], entry.line.whole[2]}
  for _, other in pairs(there) do
    if not other.gone then
      free[1] = math.min(free[1], other.whole[1])
      free[2] = math.min(free[2], other.whole[2])
    end
  end
  for _, other in pairs(there) do
    local used = other.gone and other.held or other.used
    free[1] = free[1] - math.max(other.held[1], used[1])
    free[2] = free[2] - math.max(other.held[2], used[2])
  end
  return {math.min(entry.ask[1], math.max(held[1], free[1])), math.min(entry.ask[2], math.max(held[2], free[2]))}
end
local moved = false
if request.leaves then
  members[me] = nil
  for engine, there in pairs(lines) do if there[me] then strike(engine, me) end end
  moved = true
else
  local joined = before and not before.gone and before.joined
  if not joined then
    book.arrivals = book.arrivals + 1
    joined = book.arrivals
  end
  local knows = request.epoch == book.epoch and request.knows or 0
  members[me] = {seq = request.seq, joined = joined, knows = knows, address = request.address, gone = false}
  for engine, entry in pairs(request.entries) do
    lines[engine] = lines[engine] or {}
    local there = lines[engine]
    local line = there[me]
    there[me] = nil
    local held = grant(entry, line, there)
    local old = line and line.held or {0, 0}
    local lacks = held[1] < entry.ask[1] or held[2] < entry.ask[2]
    -- who goes on lacking has been heard of
    if held[1] ~= old[1] or held[2] ~= old[2] or (lacks and not (line and line.lacks)) then moved = true end
    entry.line.lacks = lacks
    entry.line.held = held
    entry.line.gone = false
    there[me] = entry.line
  end
  for engine, there in pairs(lines) do
    if not request.entries[engine] and there[me] then strike(engine, me) end
  end
end
redis.call('SET', book_key, cjson.encode(book), 'EX', kept)
local others = false -- who comes later reads the sums
for name in pairs(members) do if name ~= me then others = true end end

local message = ARGV[2] ~= '' and cjson.decode(ARGV[2])
local known = message and tonumber(find(numbers, numbers_before, message.source) or 0)
if message and known < message.number then
  local delta, told, begun = message.delta, {}, {}
  for tenant in pairs(delta.charges) do told[tenant] = true end
  for tenant in pairs(delta.lifts) do told[tenant] = true end
  for _, tenant in ipairs(delta.begun) do begun[tenant] = true end
  for tenant in pairs(told) do
    local its_era, charges, lifted = totals(tenant)
    local era, lift = delta.eras[tenant] or 0, delta.lifts[tenant] or lifted
    if begun[tenant] and era > its_era then its_era, charges, lifted = era, 0, lift end
    if era == its_era then keep(tenant, era, charges + (delta.charges[tenant] or 0), math.max(lifted, lift)) end
  end
  redis.call('HSET', numbers, message.source, message.number)
  for engine, record in pairs(message.engines) do redis.call('HSET', engines, engine, cjson.encode(record)) end
  for number = 1, 5 do redis.call('EXPIRE', KEYS[number], kept) end
  if others then redis.call('PUBLISH', channel, ARGV[2]) end
end
if moved and others then redis.call('PUBLISH', channel, 'moved ' .. me) end
return answer(false)
"""
)

SUMS: Final = Script(
    """
local found = {}
for number, key in ipairs(KEYS) do found[number] = redis.call('HGETALL', key) end
return found
"""
)

SEED: Final = Script(
    f"""{_FIND}"""
    """
local remembered = cjson.decode(ARGV[1])
for tenant, charges in pairs(remembered.charges) do
  local known, charged, lifted = totals(tenant)
  local era, lift = remembered.eras[tenant] or 0, remembered.lifts[tenant] or 0
  if era > known then keep(tenant, era, charges, lift)
  elseif era == known then keep(tenant, era, math.max(charges, charged), math.max(lift, lifted)) end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
)


class RedisShare:
    """One pool's. Make it before the link runs: it subscribes."""

    def __init__(self, link: RedisLink, model: str) -> None:
        self._link = link
        tag = quote(model, safe="")
        parts = ("accounts", "accounts-before", "numbers", "numbers-before", "engines", "ledger")
        self._keys = [link.key("share", tag, each) for each in parts]
        self._channel = link.key("share", tag, "news")
        self._replies = msgspec.json.Decoder(Reply)
        self._messages = msgspec.json.Decoder(Message)

    @property
    def available(self) -> bool:
        return self._link.available

    async def exchange(self, request: Request, message: Message | None) -> Reply:
        said = b"" if message is None else msgspec.json.encode(message)
        answer = await self._link.run_script(
            EXCHANGE, self._keys, msgspec.json.encode(request), said, self._channel, _KEPT_S
        )
        return self._replies.decode(answer)

    async def sums(self) -> Sums:
        found = await self._link.run_script(SUMS, self._keys[:5])
        now, before, numbers, numbers_before, engines = map(_pairs, found)
        return Sums(
            _totals({**before, **now}),
            {name: int(value) for name, value in {**numbers_before, **numbers}.items()},
            {name: msgspec.json.decode(value, type=EngineRecord) for name, value in engines.items()},
        )

    async def seed(self, totals: Delta) -> None:
        await self._link.run_script(SEED, self._keys[:2], msgspec.json.encode(totals), _KEPT_S)

    def hear(self, me: str, message: Callable[[Message], None], moved: Callable[[], None]) -> None:
        ours = msgspec.json.encode({"source": me})[:-1] + b","  # how a message of ours begins: it is not worth decoding
        moved_by_us = _MOVED + me.encode()

        def receive(data: bytes) -> None:
            if data.startswith(_MOVED):
                if data != moved_by_us:
                    moved()
            elif not data.startswith(ours):
                message(self._messages.decode(data))

        self._link.subscribe(self._channel, receive)


def _pairs(flat: Any) -> dict[str, bytes]:
    """A hash as Redis lists it in a script's answer."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _totals(kept: Mapping[str, bytes]) -> Delta:
    """What the hashes of accounts hold."""
    each = {tenant: value.split() for tenant, value in kept.items()}
    return Delta(
        {tenant: float(charges) for tenant, (_, charges, _) in each.items()},
        {tenant: float(lifted) for tenant, (_, _, lifted) in each.items()},
        eras={tenant: int(era) for tenant, (era, _, _) in each.items()},
    )
