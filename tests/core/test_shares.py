"""How an engine is divided: nothing moves without need, and what there is too little of is divided evenly."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.shares import RESERVE, Amount, Line, next_held, targets

PARTS = st.lists(st.tuples(st.integers(4, 40), st.integers(0, 40)), min_size=1, max_size=8)


@given(PARTS)
def test_nothing_moves_where_everybody_holds_what_it_wants(parts: list[tuple[int, int]]) -> None:
    """Everything is given out, and nobody holds less than it wants or than the reserve."""
    total = sum(held for held, _ in parts)
    reserve = max(total / (RESERVE * len(parts)), min(1, total // len(parts)))
    whole = Amount(total, 1000 * total)
    lines = {}
    for number, (held, want) in enumerate(parts):
        wish = Amount(min(held, want), 1000 * min(held, want))
        lines[f"g{number}"] = Line(Amount(held, 1000 * held), Amount(), wish, whole)

    if min(held for held, _ in parts) >= reserve:
        assert {name: next_held(name, lines) for name in lines} == {name: line.held for name, line in lines.items()}


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.integers(1, 200))
def test_what_is_short_is_divided_evenly(wants: list[int], total: int) -> None:
    """Who gets less than it wants gets no less than anybody else, but for one that rounding gave away."""
    lines = {f"g{number:02}": Line(want=Amount(want), whole=Amount(total)) for number, want in enumerate(wants)}
    shares = {name: amount.seats for name, amount in targets(lines).items()}

    assert sum(shares.values()) == total
    for name, share in shares.items():
        if share < lines[name].want.seats:
            assert share >= max(shares.values()) - 1


@given(st.lists(st.tuples(st.integers(50, 100), st.floats(0.5, 4.0)), min_size=2, max_size=6))
def test_who_is_short_gets_by_weight(wants: list[tuple[int, float]]) -> None:
    """Of 40 seats, where each wants 50 or more: beyond the reserve in proportion to the weights."""
    lines = {
        f"g{number}": Line(want=Amount(want), whole=Amount(40), weight=weight)
        for number, (want, weight) in enumerate(wants)
    }
    reserve = 40 // (RESERVE * len(wants))
    left, heavy = 40 - reserve * len(wants), sum(weight for _, weight in wants)

    for (name, amount), (_, weight) in zip(sorted(targets(lines).items()), wants, strict=True):
        assert abs(amount.seats - reserve - left * weight / heavy) < 1 + 1e-6, name
