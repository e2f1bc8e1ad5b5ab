"""How the gateways divide an engine among themselves: who should have how much of it, and who gives and takes now.

Rules of this file:

1. An engine's capacity is two numbers, sequences and tokens of KV memory; both are divided by the same rule.
2. The parts that should be (`targets`) are whole numbers whose sum is the engine's capacity: first everybody a reserve,
   so that a first arrival starts at once, then what each wants, by max-min with the tenants that wait there as
   weights, then what is left, equally.
3. Nothing moves without need. Somebody is hungry who wants more than he holds and should have more. Who holds more
   than he should gives the hungry what they lack, and never what his running legs hold.
4. Everybody computes this from the same lines, so all agree without being told. Where their lines differ, the ledger
   (`ledger.py`) keeps the sum right.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Final, NamedTuple

from gateway.core.capacity import WATERMARK

RESERVE: Final = 4  # a gateway that wants nothing keeps one part in so many of its equal share


class Amount(NamedTuple):
    """A part of an engine: sequences, and tokens of KV memory (0 where nobody knows how much there is)."""

    seats: int = 0
    tokens: int = 0


class Part(NamedTuple):
    """What one gateway may do at an engine: fill so many sequences and tokens with new legs, and let those that run
    there grow to `most` tokens before it has to pause any (0 where nobody knows the engine's memory). `fraction`: what
    it holds of the engine's sequences; of all gateways together at most 1."""

    seats: int = 0
    tokens: int = 0
    most: int = 0
    fraction: float = 0.0


NOTHING: Final = Amount()
NO_PART: Final = Part()


@dataclass(frozen=True, slots=True)
class Line:
    """What one gateway says of itself at one engine.

    `held`: what it may use; `used`: what its legs hold; `want`: what it could use now, `used` included; `must`: tokens
    that the next of its waiting jobs needs at once; `whole`: the engine as that gateway believes it to be; `weight`: of
    the tenants that wait there. `gone`: the gateway is silent and its lease has run out; what is held is what its legs
    may still hold.
    """

    held: Amount = NOTHING
    used: Amount = NOTHING
    want: Amount = NOTHING
    whole: Amount = NOTHING
    must: int = 0
    weight: float = 1.0
    gone: bool = False

    @property
    def taken(self) -> Amount:
        """What nobody else may have: also what legs hold that began under a lease which has ended since."""
        if self.gone:
            return self.held
        return Amount(max(self.held.seats, self.used.seats), max(self.held.tokens, self.used.tokens))


def whole_of(lines: Mapping[str, Line]) -> Amount:
    """The engine's capacity: where the gateways differ, the least that one of those alive believes."""
    alive = [line.whole for line in lines.values() if not line.gone]
    return Amount(min((each.seats for each in alive), default=0), min((each.tokens for each in alive), default=0))


def turns(engines: Collection[str]) -> dict[str, float]:
    """Where rounding begins at each engine of a pool: spread evenly, so that over all engines together a gateway gets
    its part to within one sequence, however few each engine has for it."""
    return {engine: (number + 0.5) / len(engines) for number, engine in enumerate(sorted(engines))}


def targets(lines: Mapping[str, Line], turn: float = 0.5) -> dict[str, Amount]:
    """What each living gateway should hold of the engine; sums to what the gone have left of it."""
    left = _left(lines)
    alive = {name: line for name, line in sorted(lines.items()) if not line.gone}
    weights = {name: line.weight for name, line in alive.items()}
    by_seats = _divide(left.seats, {name: line.want.seats for name, line in alive.items()}, weights, turn)
    by_tokens = _divide(left.tokens, {name: line.want.tokens for name, line in alive.items()}, weights, turn)
    _make_room(by_tokens, {name: line.must for name, line in alive.items()})
    return {name: Amount(by_seats[name], by_tokens[name]) for name in alive}


def next_held(me: str, lines: Mapping[str, Line], turn: float = 0.5) -> Amount:
    """What `me` should ask to hold now, given everybody's lines; below what it holds: it gives the difference back."""
    if all(each == _SETTLED for each in _stocks(lines)):
        return lines[me].held
    seats, tokens = _claims(lines, turn)
    return Amount(seats.move(me), tokens.move(me))


def may_fill(me: str, lines: Mapping[str, Line], turn: float = 0.5) -> Amount:
    """How far `me` may fill what it holds with new legs: where others lack what it holds beyond its part, what ends
    makes room for them. Else a gateway that is always full would keep its places for ever."""
    if all(each.lack <= each.free for each in _stocks(lines)):
        return lines[me].held
    seats, tokens = _claims(lines, turn)
    return Amount(seats.fill(me), tokens.fill(me))


def may_grow(me: str, lines: Mapping[str, Line]) -> int:
    """Up to how many tokens the legs of `me` may grow: what it holds, and beyond that what the others leave.

    An engine divided among many is full in one part or another all the time, and pauses there would free what the
    others have room for. When the engine itself is overrun, those furthest beyond their parts make room, and no more of
    them than it takes. In steps of a 64th of the engine while it is far from that, since whoever is told of a change
    decides anew.
    """
    whole = whole_of(lines).tokens
    uses = {name: int(WATERMARK * line.used.tokens) for name, line in lines.items() if not line.gone}
    excess = sum(uses.values()) + sum(line.held.tokens for line in lines.values() if line.gone) - whole
    for name in sorted(uses, key=lambda name: (lines[name].held.tokens - uses[name], name)):
        gives = min(max(0, excess), max(0, uses[name] - lines[name].held.tokens))
        if name == me:
            break
        excess -= gives
    step = max(1, whole // 64)
    if excess > 0:
        return max(lines[me].held.tokens, uses[me] - gives)
    room = uses[me] - excess
    return max(lines[me].held.tokens, room if room < uses[me] + 2 * step else room // step * step)


class _Stock(NamedTuple):
    """Of one measure: what nobody holds, and the most that the living can lack in all, whatever their parts are."""

    free: int
    lack: int


_SETTLED: Final = _Stock(0, 0)


def _stocks(lines: Mapping[str, Line]) -> tuple[_Stock, _Stock]:
    """Of sequences and of tokens; far cheaper than to divide, and most often enough to know that nothing moves."""
    left = _left(lines)
    alive = [line for line in lines.values() if not line.gone]
    return (
        _stock(left.seats, [(line.held.seats, line.used.seats, line.want.seats) for line in alive]),
        _stock(left.tokens, [(line.held.tokens, line.used.tokens, line.want.tokens) for line in alive]),
    )


def _stock(total: int, amounts: Collection[tuple[int, int, int]]) -> _Stock:
    """Of what each living gateway holds, uses and wants."""
    reserve = ceil(_reserve(total, max(1, len(amounts))))
    free = total - sum([max(held, used) for held, used, _ in amounts])
    return _Stock(max(0, free), sum([max(0, max(reserve, want) - held) for held, _, want in amounts]))


def _left(lines: Mapping[str, Line]) -> Amount:
    """What the gone have left of the engine."""
    whole = whole_of(lines)
    gone = [line.held for line in lines.values() if line.gone]
    return Amount(
        max(0, whole.seats - sum(each.seats for each in gone)), max(0, whole.tokens - sum(each.tokens for each in gone))
    )


def _claims(lines: Mapping[str, Line], turn: float) -> tuple["_Claims", "_Claims"]:
    """Of sequences and of tokens."""
    should = targets(lines, turn)
    left = _left(lines)
    alive = {name: lines[name] for name in should}
    seats = {n: _Claim(line.held.seats, line.used.seats, line.want.seats, should[n].seats) for n, line in alive.items()}
    tokens = {
        n: _Claim(line.held.tokens, line.used.tokens, line.want.tokens, should[n].tokens) for n, line in alive.items()
    }
    return _Claims(seats, left.seats), _Claims(tokens, left.tokens)


class _Claim(NamedTuple):
    """One gateway's numbers in one measure, and what it should hold."""

    held: int
    used: int
    want: int
    should: int

    def lacks(self, reserve: float) -> int:
        """What it should have more, and could use."""
        return max(0, min(self.should, max(self.want, ceil(reserve))) - self.held)

    @property
    def spare(self) -> int:
        """What it could give now."""
        return max(0, self.held - max(self.used, self.should))

    @property
    def excess(self) -> int:
        """What it holds beyond its part, used or not."""
        return max(0, self.held - self.should)


def _reserve(total: int, count: int) -> float:
    """What everybody keeps, whatever it wants; less than one is one at some of the engines."""
    return max(total / (RESERVE * count), min(1, total // (2 * count)))


def _divide(total: int, wants: Mapping[str, int], weights: Mapping[str, float], turn: float) -> dict[str, int]:
    """Whole parts of `total`: reserves, weighted max-min up to the wants, the rest equally; O(gateways squared)."""
    count = len(wants)
    if not count:
        return {}
    reserve = _reserve(total, count)
    parts = dict.fromkeys(wants, reserve)
    left = total - reserve * count
    hungry = {name for name, want in wants.items() if want > reserve}
    while hungry and left > 1e-9:
        weight = sum(weights[name] for name in sorted(hungry))
        step = min(left / weight, *((wants[name] - parts[name]) / weights[name] for name in hungry))
        for name in hungry:
            parts[name] += step * weights[name]
        left -= step * weight
        hungry = {name for name in hungry if wants[name] - parts[name] > 1e-9}
    whole = {}
    upto, given = turn, 0
    for name, part in parts.items():
        upto += part + left / count
        whole[name] = min(total, floor(upto + 1e-9)) - given
        given += whole[name]
    return whole


def _make_room(parts: dict[str, int], musts: Mapping[str, int]) -> None:
    """Let the first gateway whose next job is larger than its part have what that needs, or it would never start."""
    starving = next((name for name in sorted(parts) if musts[name] > parts[name]), None)
    if starving is None:
        return
    lacks = min(musts[starving], sum(parts.values())) - parts[starving]
    for name in sorted(parts, key=lambda name: -parts[name]):
        if name != starving:
            given = min(parts[name], lacks)
            parts[name] -= given
            parts[starving] += given
            lacks -= given


class _Claims:
    """Everybody's claims of `total`, in one measure."""

    def __init__(self, claims: Mapping[str, _Claim], total: int) -> None:
        self._claims = claims
        self._reserve = _reserve(total, len(claims))
        self._free = max(0, total - sum(max(claim.held, claim.used) for claim in claims.values()))
        self._lacking = sum(claim.lacks(self._reserve) for claim in claims.values()) - self._free

    def move(self, me: str) -> int:
        """What `me` should hold next."""
        mine, lacking = self._claims[me], self._lacking
        if mine.lacks(self._reserve):
            return mine.should
        if lacking > 0 and mine.spare:
            offered = sum(claim.spare for claim in self._claims.values())
            return mine.held - min(mine.spare, -(-lacking * mine.spare // offered))
        return mine.held if lacking > 0 else max(mine.held, min(mine.should, mine.held + self._free))

    def fill(self, me: str) -> int:
        """What `me` may use of what it holds."""
        mine, lacking = self._claims[me], self._lacking
        if lacking <= 0 or not mine.excess:
            return mine.held
        beyond = sum(claim.excess for claim in self._claims.values())
        return mine.held - min(mine.excess, -(-lacking * mine.excess // beyond))
