"""How a stream lies in Redis: a hash that says whose it is and who writes it, and the log as a Redis stream.

The log's name has the number of its writer (`epoch`) in it, and entries are only added to a log that is there. Who
takes a stream over renames the log: whatever the old writer still sends is refused, at no cost for the writer that is
good. An entry has many events; its id is the number of its last one, so that an entry that comes twice is refused, and
a reader finds its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gateway.stores.redis_commands import Argument, Script
from gateway.stores.stream_exchange import Position, StreamRecord

START: Final[Position] = (0, 0)

# KEYS: hash, log. ARGV: owner, gateway, epoch, origin, lifetime in ms, first number. The same gateway may say it twice.
OPEN: Final = Script("""
local writer = redis.call('HMGET', KEYS[1], 'gateway', 'epoch')
if writer[1] and (writer[1] ~= ARGV[2] or writer[2] ~= ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'gateway', ARGV[2], 'epoch', ARGV[3], 'origin', ARGV[4])
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('XADD', KEYS[2], ARGV[6] .. '-1', 'f', ARGV[6] + 1) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
""")

# KEYS: hash, log before, log from now on. ARGV: epoch before, gateway, epoch from now on, lifetime in ms.
CLAIM: Final = Script("""
local writer = redis.call('HMGET', KEYS[1], 'gateway', 'epoch')
if writer[1] == ARGV[2] and writer[2] == ARGV[3] then return 1 end
if writer[2] ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('RENAME', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'gateway', ARGV[2], 'epoch', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 1
""")


@dataclass(slots=True)
class Writing:
    """A stream of ours. `acked`: what Redis has; `shown`: what readers may have seen; `mark`: what progress it has."""

    owner: str
    epoch: int = 1
    record: StreamRecord | None = None
    opened: bool = False
    unsure: bool = False
    acked: int = 0
    shown: int = 0
    mark: Position = START
    kept_from: int = 1
    closed: bool = False  # and Redis knows it
    sends: int = 0
    due_at: float = 0.0
    renewed_at: float = 0.0
    readers: dict[str, float] = field(default_factory=dict)  # gateways that read it, and until when that holds


@dataclass(slots=True)
class Copy:
    """A stream of another gateway that is read here. `last`: the number of the last event that is here."""

    gateway: str
    epoch: int
    last: int = 0
    closed: bool = False
    filling: bool = False
    unread_rounds: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """Some events, the first of them numbered `first`; `closed`: they are the last."""

    first: int
    events: Sequence[bytes]
    progress: bytes = b""
    closed: bool = False

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


def add(log: str, entry: Entry, *, keep_from: int | None) -> list[Argument]:
    """The command that adds an entry; entries wholly before `keep_from` go."""
    trim = () if keep_from is None else ("MINID", f"{keep_from}-0")
    number = f"{entry.last}-{2 if entry.closed else 0}" if entry.events or entry.closed else "*"
    fields: list[Argument] = ["f", entry.first, "e", msgspec.msgpack.encode(entry.events), "p", entry.progress]
    if entry.closed:
        fields += ["c", 1]
    return ["XADD", log, "NOMKSTREAM", *trim, number, *fields]


def entry_of(found: Any) -> Entry:
    """An entry as Redis gives it: [id, [name, value, ...]]."""
    pairs = iter(found[1])
    fields: Mapping[bytes, bytes] = dict(zip(pairs, pairs, strict=True))
    events = msgspec.msgpack.decode(fields[b"e"], type=list[bytes]) if b"e" in fields else []
    return Entry(int(fields[b"f"]), events, fields.get(b"p", b""), b"c" in fields)


def number_of(found: Any) -> int:
    """The number of an entry's last event."""
    return int(found[0].partition(b"-")[0])
