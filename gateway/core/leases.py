"""One gateway's leases: what it may use of each engine, until when, and what it tells the ledger. Pure.

Rules of this file. Times are seconds on this gateway's own monotonic clock; clocks may run up to 5 % apart.

1. A lease counts from when the request was sent that was answered, never from the answer. It ends after `SURE` of its
   time; others may take it after the whole of it. What is given back is not used from before the request is sent; what
   is asked for is used once it is granted. So what the gateways use together is never more than the ledger holds. Of
   what others should have, nothing is filled again: it is given back when the legs that hold it have ended.
2. Where the ledger cannot be reached, a lease is kept alive by the other gateways: one that answers promises not to
   bury the asker for a lease's time. All those that the gateway knew must answer. Who can reach neither the ledger nor
   one of the others starts nothing new: those may be about to take its place. What runs there goes on.
3. Only who has watched a gateway be silent for a lease's time buries it, and only if that gateway knew of it. A
   stranger waits `STRANGER` times as long: else nobody could follow gateways that were all killed at once.
4. What the legs of a buried gateway hold is free when the engine itself shows fewer sequences than the living account
   for, three times in a row; where it shows nothing, after a stranger's time.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from gateway.core.ledger import Entry, Member, Reply, Request
from gateway.core.shares import NO_PART, NOTHING, Amount, Line, Part, may_fill, may_grow, next_held, turns, whole_of

SURE: Final = 0.9
STRANGER: Final = 4.0
ERA_S: Final = 600.0  # who was touched by nobody for that long may be forgotten; see `accounts.py`
_LOOKS: Final = 3


@dataclass(slots=True)
class _Watch:
    """The last number heard of another gateway, and since when it has said nothing else."""

    seq: int
    since: float


@dataclass(slots=True)
class _Graves:
    """Since when gateways are gone from an engine, and the sequences there that nobody alive accounts for."""

    since: dict[str, float] = field(default_factory=dict)
    strangers: deque[int] = field(default_factory=lambda: deque(maxlen=_LOOKS))


class Holder:
    """`me` names this gateway for all times; `ttl_s` is the same for all gateways, else ValueError if not positive."""

    def __init__(self, me: str, ttl_s: float, *, stranger_s: float | None = None) -> None:
        if not ttl_s > 0:
            raise ValueError("a lease's time must be positive")
        self.me = me
        self.ttl_s = ttl_s
        self._stranger_s = STRANGER * ttl_s if stranger_s is None else stranger_s
        self._held: dict[str, Amount] = {}
        self._fill: dict[str, Amount] = {}
        self._most: dict[str, int] = {}
        self._lines: dict[str, Line] = {}  # what was said last
        self._book: Reply | None = None
        self._epoch_since = inf
        self._era_since = inf
        self._seq = 0
        self._sent_at = -inf
        self._renewed = -inf
        self._elders: dict[str, Member] = {}  # of the book that was lost, until the new one is settled
        self._others: dict[str, Member] = {}
        self._vouched: dict[str, float] = {}
        self._watches: dict[str, _Watch] = {}
        self._burials: dict[str, int] = {}  # who was buried by which request, until that or a later one is answered
        self._graves: dict[str, _Graves] = {}

    def __repr__(self) -> str:
        return f"<Holder {self.me}: {self._held}, {len(self.others)} others>"

    # ---- what may be used

    @property
    def renewed(self) -> float:
        """From when the leases count: the ledger's answer, or that of all other gateways."""
        others = self.others
        vouched = min((self._vouched.get(name, -inf) for name in others), default=inf)
        return max(self._renewed, vouched) if self._book is not None else -inf

    def valid(self, now: float) -> bool:
        """Whether the leases still count."""
        return now < self.renewed + SURE * self.ttl_s

    def usable(self, engine: str, now: float) -> Amount:
        """What this gateway's legs may fill of the engine; nothing once the lease has run out."""
        return self._fill.get(engine, NOTHING) if self.valid(now) else NOTHING

    def part(self, engine: str, now: float) -> Part:
        """The same, how far legs that run there may grow, and how much of the engine is held."""
        if not self.valid(now):
            return NO_PART
        whole = max(1, whole_of(self.lines(engine)).seats)
        fraction = min(1.0, self.held(engine, now).seats / whole)
        return Part(*self.usable(engine, now), self._most.get(engine, 0), fraction)

    def held(self, engine: str, now: float) -> Amount:
        """What nobody else may use: more than `usable` while legs hold what others should have."""
        return self._held.get(engine, NOTHING) if self.valid(now) else NOTHING

    @property
    def others(self) -> Mapping[str, Member]:
        """The living gateways that the last answer told of, and those from before the book was lost."""
        return self._others

    @property
    def epoch(self) -> str:
        """The one in which this gateway was answered last; empty before."""
        return "" if self._book is None else self._book.epoch

    @property
    def era(self) -> int:
        """The one that all gateways count; 0 before the first answer."""
        return 0 if self._book is None else self._book.era

    @property
    def settled(self) -> bool:
        """Whether the ledger gives anything out, as far as this gateway knows."""
        return self._book is not None and self._book.settled

    def lines(self, engine: str) -> Mapping[str, Line]:
        """Everybody's lines for the engine, this gateway's as it is now."""
        others = {} if self._book is None else self._book.lines.get(engine, {})
        mine = self._lines.get(engine)
        return {**others, self.me: mine} if mine is not None else others

    # ---- the ledger

    def request(self, now: float, lines: Mapping[str, Line], *, address: str = "", leaves: bool = False) -> Request:
        """What to send now; `lines` say what is used, wanted and believed of each engine. Lowers what is usable."""
        self._seq += 1
        self._sent_at = now
        valid = self.valid(now)
        entries = {}
        self._lines = {}
        turn = turns(lines)
        for engine, line in lines.items():
            held = self._held.get(engine, NOTHING) if valid else NOTHING
            self._lines[engine] = replace(line, held=held)
            ask = next_held(self.me, self.lines(engine), turn[engine]) if self.settled else held
            ask = Amount(max(ask.seats, line.used.seats), max(ask.tokens, line.used.tokens))
            held = Amount(min(held.seats, ask.seats), min(held.tokens, ask.tokens))
            self._lines[engine] = replace(line, held=held)
            entries[engine] = Entry(self._lines[engine], ask)
        self._held = {engine: line.held for engine, line in self._lines.items()}
        self._limit()
        buried = dict(self._silent(now))
        self._burials |= dict.fromkeys(buried, self._seq)
        return Request(
            me=self.me,
            seq=self._seq,
            nonce=f"{self.me}.{self._seq}",
            entries=entries,
            epoch=self.epoch,
            settled=now - self._epoch_since >= self._settling_s(),
            knows=0 if self._book is None else max((m.joined for m in self._book.members.values()), default=0),
            address=address,
            buried=buried,
            freed=dict(self._freed(now)),
            leaves=leaves,
            era=self.era + (now - self._era_since >= ERA_S),
        )

    def answered(self, request: Request, reply: Reply, now: float) -> bool:
        """The ledger's answer; whether it counts: one to an older request does not, nor one that came late there."""
        if request.seq != self._seq or reply.late:
            return False
        gap = now - self._renewed > self.ttl_s / 2
        if self.epoch != reply.epoch:
            self._epoch_since = now
            self._elders = self._others
        if self.era != reply.era:
            self._era_since = now
        if reply.settled:
            self._elders = {}
        here = {name: member for name, member in reply.members.items() if name != self.me and not member.gone}
        self._others = {**self._elders, **here}
        self._book = reply
        self._renewed = self._sent_at
        self._burials.clear()
        self._held = {engine: lines[self.me].held for engine, lines in reply.lines.items() if self.me in lines}
        self._limit()
        self._watch(reply, now, anew=gap)
        return True

    def _limit(self) -> None:
        """Work out how far what is held may be filled. While nothing can be given, nothing needs to be left free."""
        self._fill = dict(self._held)
        self._most = {}
        for engine, turn in turns(self._held).items():
            lines = {**self.lines(engine), self.me: replace(self._lines[engine], held=self._held[engine])}
            self._most[engine] = may_grow(self.me, lines)
            if self.settled:
                self._fill[engine] = may_fill(self.me, lines, turn)

    def _settling_s(self) -> float:
        """How long a new book must have been known before it gives anything out. Who was in the lost one and has not
        written in this one may still have legs at the engines, longer than any lease."""
        missing = self._book is not None and self._elders.keys() - self._book.members.keys()
        return self._stranger_s if missing else self.ttl_s

    def _watch(self, reply: Reply, now: float, *, anew: bool) -> None:
        others = self.others
        self._vouched = {name: at for name, at in self._vouched.items() if name in others}
        before, self._watches = self._watches, {}
        for name, member in reply.members.items():
            if name not in others:
                continue
            watch = before.get(name)
            if watch is None or anew or watch.seq != member.seq:
                watch = _Watch(member.seq, now)
            self._watches[name] = watch
        graves, self._graves = self._graves, {}
        for engine, lines in reply.lines.items():
            gone = {name for name, line in lines.items() if line.gone}
            known = graves.get(engine, _Graves())
            if gone <= known.since.keys():
                self._graves[engine] = _Graves({name: known.since[name] for name in gone}, known.strangers)
            else:  # who has just been found to be gone was accounted for until now
                self._graves[engine] = _Graves({name: known.since.get(name, now) for name in gone})

    def _silent(self, now: float) -> Iterator[tuple[str, int]]:
        if self._book is None or self.me not in self._book.members:
            return
        joined = self._book.members[self.me].joined
        for name, watch in self._watches.items():
            knows = self._book.members[name].knows >= joined
            if now - watch.since >= (self.ttl_s if knows else self._stranger_s):
                yield name, watch.seq

    # ---- the other gateways

    def asks(self, now: float) -> Mapping[str, str]:
        """Whom to ask whether they live, and where: nobody while the ledger answers."""
        if now - self._renewed < self.ttl_s / 3:
            return {}
        return {name: member.address for name, member in self.others.items()}

    def vouches_for(self, name: str, epoch: str, now: float) -> bool:
        """Another gateway asks, which was answered last in this epoch: promise not to bury it for a lease's time,
        unless it may be too late for that."""
        watch = self._watches.get(name)
        if watch is None or name in self._burials or epoch != self.epoch:
            return False
        watch.since = now
        return True

    def vouched(self, name: str, asked_at: float) -> None:
        """Another gateway answered a question that was sent then."""
        if name in self.others:
            self._vouched[name] = max(asked_at, self._vouched.get(name, -inf))

    # ---- what the gone leave

    def mourns(self, engine: str) -> bool:
        """Whether legs of gone gateways may still run there: `seen` tells when they have ended."""
        graves = self._graves.get(engine)
        return graves is not None and bool(graves.since)

    def seen(self, engine: str, running: int) -> None:
        """The engine itself counts so many sequences now."""
        if self.mourns(engine):
            accounted = sum(line.used.seats for line in self.lines(engine).values() if not line.gone)
            self._graves[engine].strangers.append(max(0, running - accounted))

    def _freed(self, now: float) -> Iterator[tuple[str, Mapping[str, Amount]]]:
        for engine, graves in self._graves.items():
            freed: dict[str, Amount] = {}
            left = max(graves.strangers) if len(graves.strangers) == _LOOKS else None
            for name, since in sorted(graves.since.items()):
                held = self.lines(engine)[name].held
                if now - since >= self._stranger_s:
                    freed[name] = NOTHING
                elif left is not None:
                    seats = min(held.seats, left)
                    left -= seats
                    freed[name] = Amount(seats, held.tokens if seats else 0)
            if freed:
                yield engine, freed
