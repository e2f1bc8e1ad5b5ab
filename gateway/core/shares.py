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

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import gt
from typing import Final, NamedTuple

RESERVE: Final = 4  # a gateway that wants nothing keeps one part in so many of its equal share


class Amount(NamedTuple):
    """A part of an engine: sequences, and tokens of KV memory (0 where nobody knows how much there is)."""

    seats: int = 0
    tokens: int = 0


NOTHING: Final = Amount()


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

    def holding(self, held: Amount) -> "Line":
        """The same of a living gateway that holds so much."""
        if held == self.held and not self.gone:
            return self
        return Line(held, self.used, self.want, self.whole, self.must, self.weight)


def whole_of(lines: Iterable[Line]) -> Amount:
    """The engine's capacity: where the gateways differ, the least that one of those alive believes."""
    alive = [line.whole for line in lines if not line.gone]
    return Amount(*map(min, zip(*alive, strict=True))) if alive else NOTHING


def targets(lines: Mapping[str, Line]) -> dict[str, Amount]:
    """What each living gateway should hold of the engine; sums to what the gone have left of it."""
    names, seats, tokens = _claims(lines)
    return dict(zip(names, map(Amount, seats.shares(), tokens.shares()), strict=True))


def next_held(me: str, lines: Mapping[str, Line]) -> Amount:
    """What `me` should ask to hold now, given everybody's lines; below what it holds: it gives the difference back.

    O(gateways); O(gateways log gateways) where they want more than there is.
    """
    if _at_rest(lines.values()):
        return lines[me].held
    names, seats, tokens = _claims(lines)
    at = names.index(me)
    return Amount(seats.next_of(at), tokens.next_of(at))


def _at_rest(lines: Collection[Line]) -> bool:
    """Whether nobody lacks anything and nothing is free: nothing moves, which is the usual case."""
    if any(line.gone for line in lines):
        return False
    count = len(lines)
    for held, want, whole in zip(
        zip(*[line.held for line in lines], strict=True),
        zip(*[line.want for line in lines], strict=True),
        zip(*[line.whole for line in lines], strict=True),
        strict=True,
    ):
        total = min(whole)
        if sum(held) != total or min(held) < _reserve(total, count) or any(map(gt, want, held)):
            return False
    return True


class _Claims(NamedTuple):
    """What the living gateways, in the order of their names, hold, use and want of one measure of an engine, of which
    there is `total`. `musts`: what the next job of each needs at once."""

    total: int
    held: Sequence[int]
    used: Sequence[int]
    want: Sequence[int]
    musts: Sequence[int]
    weights: Sequence[float]

    @property
    def reserve(self) -> int:
        """What everybody keeps, whatever it wants."""
        return _reserve(self.total, len(self.held))

    def next_of(self, at: int) -> int:
        """What the one at this place should hold next."""
        held, reserve = self.held, self.reserve
        free = max(0, self.total - sum(held))
        useful = [max(reserve, want) for want in self.want]
        if not free and not any(map(gt, useful, held)):
            return held[at]
        shares = self.shares()
        needs = list(map(min, shares, useful))
        if needs[at] > held[at]:
            return shares[at]
        lacking = sum(map(max, needs, held)) - sum(held) - free
        if lacking <= 0:
            return max(held[at], min(shares[at], held[at] + free))
        spares = [holds - most for holds, most in zip(held, map(max, self.used, shares), strict=True)]
        spare = max(0, spares[at])
        offered = sum([each for each in spares if each > 0])
        return held[at] - min(spare, -(-lacking * spare // max(1, offered)))

    def shares(self) -> list[int]:
        """Whole parts of `total`: reserves, weighted max-min up to the wants, the rest equally; then room for one."""
        count = len(self.held)
        if not count:
            return []
        reserve = self.reserve
        parts = [max(reserve, want) for want in self.want]
        left = self.total - sum(parts)
        if left >= 0:
            each, more = divmod(left, count)
            whole = [part + each + (at < more) for at, part in enumerate(parts)]
        else:
            whole = _rounded(_poured(reserve, self.total - reserve * count, self.want, self.weights), self.total)
        self._make_room(whole)
        return whole

    def _make_room(self, parts: list[int]) -> None:
        """Let the first one whose next job is larger than its part have what that needs, or it would never start."""
        if not any(map(gt, self.musts, parts)):
            return
        starving = next(at for at, must in enumerate(self.musts) if must > parts[at])
        lacks = min(self.musts[starving], sum(parts)) - parts[starving]
        for at in sorted(range(len(parts)), key=lambda at: (-parts[at], at)):
            if at != starving:
                given = min(parts[at], lacks)
                parts[at] -= given
                parts[starving] += given
                lacks -= given


def _reserve(total: int, count: int) -> int:
    return max(total // (RESERVE * count), min(1, total // count))


def _claims(lines: Mapping[str, Line]) -> tuple[list[str], _Claims, _Claims]:
    """Who lives, by name, and what they claim of the engine's sequences and tokens."""
    names = sorted(name for name, line in lines.items() if not line.gone)
    alive = [lines[name] for name in names]
    gone = [line.held for line in lines.values() if line.gone]
    weights, musts, none = [line.weight for line in alive], [line.must for line in alive], [0] * len(alive)
    whole = whole_of(alive)
    held, used, want = (
        tuple(zip(*column, strict=True)) or ((), ())
        for column in ([line.held for line in alive], [line.used for line in alive], [line.want for line in alive])
    )
    seats, tokens = (max(0, each - sum(left[measure] for left in gone)) for measure, each in enumerate(whole))
    return (
        names,
        _Claims(seats, held[0], used[0], want[0], none, weights),
        _Claims(tokens, held[1], used[1], want[1], musts, weights),
    )


def _poured(reserve: int, left: float, wants: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Parts that begin at the reserve and rise in step by their weights, each up to its want, until nothing is left."""
    parts = [float(reserve)] * len(wants)
    hungry = sorted(
        ((want - reserve) / weight, at)
        for at, (want, weight) in enumerate(zip(wants, weights, strict=True))
        if want > reserve
    )
    weight = sum(weights[at] for _, at in hungry)
    for number, (height, at) in enumerate(hungry):
        if height * weight > left:  # from here on nobody gets all
            weight = sum(weights[other] for _, other in hungry[number:])
            for _, other in hungry[number:]:
                parts[other] += left * weights[other] / weight
            break
        left -= wants[at] - reserve
        weight -= weights[at]
        parts[at] = float(wants[at])
    return parts


def _rounded(parts: Sequence[float], total: int) -> list[int]:
    """Whole numbers with this sum, who is cut most first."""
    whole = [int(part + 1e-9) for part in parts]
    short = total - sum(whole)
    for at in sorted(range(len(parts)), key=lambda at: (whole[at] - parts[at], at))[:short]:
        whole[at] += 1
    return whole
