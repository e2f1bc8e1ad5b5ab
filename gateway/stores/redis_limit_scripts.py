"""The arithmetic of `gateway.core.limits`, once more in Lua, where it is atomic for all gateways.

For each key three Redis keys with one hash tag: a hash with the buckets' levels (`r` requests, `t` tokens, each with
its capacity `rc`, `tc`; `at` is the time of both; `owed` was used before there was a bucket), a sorted set of holds by
the time at which they expire, and a hash of what each hold has charged and used. Times are milliseconds of Redis' own
clock, so that gateways' clocks may differ; ARGV[1] is the time to take in its place, empty but in tests. Every command
may come twice: a hold has its own name, and totals are absolute.
"""

import math
from typing import Final

from gateway.core.buckets import Allowance
from gateway.core.limits import Limits
from gateway.errors import RateLimited, TooManyStreams
from gateway.stores.redis_commands import Script

STREAM_RETRY_S: Final = 1.0
_ROUNDING: Final = 1e-10  # as the buckets of `gateway.core` round

_COMMON: Final = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + time[2] / 1000
end
local ttl = tonumber(ARGV[2])
local bucket, holds, charges = KEYS[1], KEYS[2], KEYS[3]
local names = {'r', 't', 'rc', 'tc', 'at', 'owed'}
local found = redis.call('HMGET', bucket, unpack(names))
local b = {}
for i, name in ipairs(names) do b[name] = tonumber(found[i]) end
local owing = not b.at or b.owed
local function refill()
  local passed = math.max(0, now - (b.at or now))
  for level, capacity in pairs({r = 'rc', t = 'tc'}) do
    if b[level] then b[level] = math.min(b[level] + passed * b[capacity] / 60000, b[capacity]) end
  end
  b.at = math.max(b.at or now, now)
end
local function fit(level, capacity, limit, known)
  if not limit then b[level], b[capacity] = nil, nil return end
  if not b[level] then b[level] = math.min(known or limit, limit)
  elseif b[capacity] ~= limit then b[level] = b[level] * limit / b[capacity] end
  b[capacity] = limit
end
local function take(count)
  if b.t then b.t = math.min(b.t - count, b.tc)
  elseif owing then b.owed = (b.owed or 0) + count end
end
local function settle_debt()
  if b.t and b.owed then b.t = math.min(b.t - b.owed, b.tc) end
  b.owed, owing = nil, false
end
local function finish(name, charged, used)
  take(used - charged)
  redis.call('ZREM', holds, name)
  redis.call('HDEL', charges, name)
end
local function expire()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', holds, '-inf', now)) do
    local charged, used = string.match(redis.call('HGET', charges, name) or '0 0', '(%S+) (%S+)')
    finish(name, tonumber(charged), tonumber(used))
  end
end
local function save()
  redis.call('DEL', bucket)
  for _, name in ipairs(names) do
    if b[name] then redis.call('HSET', bucket, name, string.format('%.17g', b[name])) end
  end
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, math.ceil(math.max(ttl, 60000)) + 60000) end
end
local function levels() return {string.format('%.17g', b.r or 0), string.format('%.17g', b.t or 0)} end
"""

_LIMITS: Final = """
local limit_r, limit_t, limit_s = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
"""

# ARGV: time, lifetime, limits (empty: none), levels that we knew (empty: none), the hold's name, its tokens.
# Answer: verdict, seconds to wait, levels, streams.
RESERVE: Final = Script(f"""{_COMMON}{_LIMITS}
refill()
expire()
fit('r', 'rc', limit_r, tonumber(ARGV[6]))
fit('t', 'tc', limit_t, tonumber(ARGV[7]))
settle_debt()
local name, tokens = ARGV[8], tonumber(ARGV[9])
local streams = redis.call('ZCARD', holds)
local function wait(level, capacity, amount)
  if not b[level] then return 0 end
  local missing = amount - b[level]
  if missing <= b[capacity] * 1e-10 then return 0 end
  return missing * 60 / b[capacity]
end
local verdict, seconds = 'ok', 0
if not redis.call('ZSCORE', holds, name) then
  local wait_r, wait_t = wait('r', 'rc', 1), wait('t', 'tc', tokens)
  if limit_s and streams >= limit_s then verdict = 'streams'
  elseif wait_r > 0 or wait_t > 0 then
    verdict, seconds = wait_r >= wait_t and 'requests' or 'tokens', math.max(wait_r, wait_t)
  else
    if b.r then b.r = b.r - 1 end
    take(tokens)
    redis.call('ZADD', holds, now + ttl, name)
    redis.call('HSET', charges, name, tokens .. ' 0')
  end
end
save()
local left = levels()
return {{verdict, string.format('%.17g', seconds), left[1], left[2], streams}}
""")

# ARGV: time, lifetime, limits. Answer: levels.
STATE: Final = Script(f"""{_COMMON}{_LIMITS}
refill()
expire()
fit('r', 'rc', limit_r)
fit('t', 'tc', limit_t)
settle_debt()
save()
return levels()
""")

# ARGV: time, lifetime, then for each hold: name, total used, tokens charged before as far as its gateway knows, age of
# the report in milliseconds, what becomes of it (live, end, cancel). A live hold that is not known is taken up again.
SETTLE: Final = Script(f"""{_COMMON}
refill()
for i = 3, #ARGV, 5 do
  local name, used, base, fate = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 4]
  local known = redis.call('HGET', charges, name)
  if known or fate == 'live' then
    local charged, before = string.match(known or (base .. ' 0'), '(%S+) (%S+)')
    charged, before = tonumber(charged), tonumber(before)
    used = math.max(used, before)
    if fate == 'cancel' then
      finish(name, charged, 0)
      if b.r then b.r = math.min(b.r + 1, b.rc) end
    else
      if used > charged then
        take(used - charged)
        charged = used
      end
      if fate == 'end' then finish(name, charged, used)
      else
        local until_ = now - tonumber(ARGV[i + 3]) + ttl
        redis.call('ZADD', holds, math.max(until_, tonumber(redis.call('ZSCORE', holds, name) or 0)), name)
        redis.call('HSET', charges, name, charged .. ' ' .. used)
      end
    end
  end
end
expire()
save()
return 1
""")


def check(verdict: str, wait: float, streams: int, limits: Limits) -> None:
    """Raise what Redis says against a reservation, in the words of `gateway.core.limits`."""
    if verdict == "streams":
        raise too_many(streams)
    if verdict != "ok":
        limit = limits.requests_per_minute if verdict == "requests" else limits.tokens_per_minute
        raise RateLimited(f"The key's limit of {limit} {verdict} per minute is used up.", retry_after_s=wait)


def too_many(streams: int) -> TooManyStreams:
    """The error for one stream more."""
    message = f"The key has {streams} streams open, as many as it may."
    return TooManyStreams(message, retry_after_s=STREAM_RETRY_S)


def allowance(limit: int | None, level: float) -> Allowance | None:
    """A bucket's state for a client; None for what is not limited."""
    if limit is None:
        return None
    remaining = max(0, math.floor(level + limit * _ROUNDING))
    missing = limit - level
    reset_s = 0.0 if missing <= limit * _ROUNDING else missing * 60 / limit
    return Allowance(limit, min(remaining, limit), reset_s)
