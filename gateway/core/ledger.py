"""The book in which the gateways of one pool write who holds how much of which engine. Pure; the Redis script does the
same, and the tests hold the two against each other.

Rules of this file:

1. The sum of what is held at an engine never grows above its capacity: a line is lowered as its gateway says, and
   raised by what is free. What legs hold beyond their gateway's line, since its lease has ended, is not free either.
2. A gateway numbers its requests; one that comes late, after a newer one, changes nothing.
3. An epoch is the time in which the book remembers everything. A book that was lost, or that another server process
   took over (it may have lost the last second), begins a new one, and is not settled: gateways tell what they hold and
   get nothing more, until one of them has waited long enough for every lease of which the book knows nothing to have
   run out.
4. An era is some time that all gateways count together, the first one is 1: it is what the latest of them asks for,
   once it has seen the present one for long enough. Eras outlive epochs; what they are for is in `accounts.py`.
5. Who has been silent for too long is buried by somebody who has watched it all that time, if it has said nothing
   since. Its line stays, as gone, until it is known that its legs have ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.shares import NOTHING, Amount, Line, whole_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A gateway's line for one engine with what it asks to hold; `line.held` is what it holds until it is answered."""

    line: Line
    ask: Amount


@dataclass(frozen=True, slots=True)
class Request:
    """What a gateway tells the book.

    `epoch`: the one in which it was answered last, empty for a newcomer; `nonce` names a new epoch if one begins;
    `settled`: it has waited a lease's time since it saw this epoch; `knows`: the
    newest arrival that it knows of; `buried`: who was silent, with the number of its last request; `freed`: what those
    who are gone can still hold at most; `leaves`: it is about to end; `era`: the one that it wants to be in.
    """

    me: str
    seq: int
    nonce: str
    entries: Mapping[str, Entry]
    epoch: str = ""
    settled: bool = False
    knows: int = 0
    address: str = ""
    buried: Mapping[str, int] = field(default_factory=dict)
    freed: Mapping[str, Mapping[str, Amount]] = field(default_factory=dict)
    leaves: bool = False
    era: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """A gateway in the book: the number of its last request, which arrival it was, the newest arrival it knows of, and
    where it answers other gateways."""

    seq: int
    joined: int
    knows: int
    address: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """The book after a request; `late`: the request came after a newer one, and changed nothing."""

    epoch: str
    settled: bool
    members: Mapping[str, Member]
    lines: Mapping[str, Mapping[str, Line]]
    late: bool = False
    era: int = 1


@dataclass(slots=True, eq=False)
class Ledger:
    """The book itself, in memory."""

    epoch: str = ""
    era: int = 1
    boot: str = ""
    settled: bool = False
    arrivals: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    lines: dict[str, dict[str, Line]] = field(default_factory=dict)

    def sync(self, request: Request, boot: str = "") -> Reply:
        """Take a gateway's request and answer with the whole book; `boot` names the process that keeps it."""
        if not self.epoch or self.boot != boot:
            self._begin(request, boot)
        me = self.members.get(request.me)
        if me is not None and request.seq <= me.seq:
            return self._reply(late=True)
        self.era = max(self.era, request.era)
        if request.settled and request.epoch == self.epoch:
            self.settled = True
        self._bury(request)
        self._free(request)
        if request.leaves:
            self._forget(request.me)
        else:
            self._write(request, me)
        return self._reply()

    def _begin(self, request: Request, boot: str) -> None:
        self.epoch, self.boot, self.settled, self.arrivals = request.nonce, boot, False, 0
        self.members.clear()
        self.lines.clear()

    def _write(self, request: Request, me: Member | None) -> None:
        joined = 0 if me is None or me.gone else me.joined
        if not joined:  # also one that comes back: who knew it before need not know that it is here again
            self.arrivals += 1
            joined = self.arrivals
        knows = request.knows if request.epoch == self.epoch else 0
        self.members[request.me] = Member(request.seq, joined, knows, request.address)
        for engine, entry in request.entries.items():
            lines = self.lines.setdefault(engine, {})
            before = lines.pop(request.me, None)
            granted = self._grant(entry, before, lines)
            lines[request.me] = replace(entry.line, held=granted, gone=False)
        for engine in [name for name in self.lines if name not in request.entries]:
            self._strike(engine, request.me)

    def _grant(self, entry: Entry, before: Line | None, others: Mapping[str, Line]) -> Amount:
        if before is None and not self.settled:
            return entry.line.held  # it tells what it got from a book that is lost
        held = NOTHING if before is None else before.held
        if not self.settled:
            return Amount(min(entry.ask.seats, held.seats), min(entry.ask.tokens, held.tokens))
        whole = whole_of({**others, "": replace(entry.line, gone=False)})
        taken = [line.taken for line in others.values()]
        free_seats = whole.seats - sum(each.seats for each in taken)
        free_tokens = whole.tokens - sum(each.tokens for each in taken)
        return Amount(
            min(entry.ask.seats, max(held.seats, free_seats)), min(entry.ask.tokens, max(held.tokens, free_tokens))
        )

    def _bury(self, request: Request) -> None:
        for name, seq in request.buried.items():
            member = self.members.get(name)
            if member is None or member.seq != seq or name == request.me:
                continue
            self.members[name] = replace(member, gone=True)
            for lines in self.lines.values():
                if name in lines:
                    lines[name] = replace(lines[name], gone=True)
            self._clear(name)

    def _free(self, request: Request) -> None:
        for engine, most in request.freed.items():
            for name, amount in most.items():
                line = self.lines.get(engine, {}).get(name)
                if line is None or not line.gone:
                    continue
                left = Amount(min(line.held.seats, amount.seats), min(line.held.tokens, amount.tokens))
                if left.seats or left.tokens:
                    self.lines[engine][name] = replace(line, held=left)
                else:
                    self._strike(engine, name)
                    self._clear(name)

    def _clear(self, name: str) -> None:
        """Forget a gone gateway once it holds nothing."""
        if not any(name in lines for lines in self.lines.values()):
            self.members.pop(name, None)

    def _strike(self, engine: str, name: str) -> None:
        self.lines[engine].pop(name, None)
        if not self.lines[engine]:
            del self.lines[engine]

    def _forget(self, name: str) -> None:
        self.members.pop(name, None)
        for engine in tuple(self.lines):
            self._strike(engine, name)

    def _reply(self, *, late: bool = False) -> Reply:
        lines = {engine: dict(lines) for engine, lines in self.lines.items()}
        return Reply(self.epoch, self.settled, dict(self.members), lines, late, self.era)
