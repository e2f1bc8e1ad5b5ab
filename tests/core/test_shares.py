"""How an engine is divided: whole parts, by wishes and weights, and nothing moves without need."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.capacity import WATERMARK
from gateway.core.shares import NOTHING, Amount, Line, may_fill, may_grow, next_held, targets, turns, whole_of
from tests.core.lines import WHOLE, line


def test_few_places_are_divided_over_all_engines_together() -> None:
    """Eight gateways, four engines of four sequences: everybody gets two, none at all at an engine or two."""
    lines = {f"g{number}": line(40, whole=Amount(4, 4000)) for number in range(8)}
    turn = turns(["a", "b", "c", "d"])
    parts = [targets(lines, turn[engine]) for engine in turn]
    assert {name: sum(part[name].seats for part in parts) for name in lines} == dict.fromkeys(lines, 2)


@given(st.lists(st.floats(0.1, 10.0), min_size=3, max_size=8), st.integers(1, 8))
def test_over_all_engines_a_gateway_gets_its_part_to_within_one_place(weights: list[float], engines: int) -> None:
    """Whatever rounding does at each of them: as of one large engine."""
    few = {f"g{n}": line(9999, whole=Amount(4, 0), weight=weight) for n, weight in enumerate(weights)}
    many = {name: replace(each, whole=Amount(4000, 0)) for name, each in few.items()}
    found = [targets(few, turn) for turn in turns([f"e{number}" for number in range(engines)]).values()]
    for name, amount in targets(many).items():
        assert abs(sum(each[name].seats for each in found) - engines * amount.seats / 1000) <= 1.1


def test_weights_are_the_tenants_who_wait() -> None:
    lines = {"a": line(40, weight=1.0), "b": line(40, weight=3.0)}
    assert {name: amount.seats for name, amount in targets(lines).items()} == {"a": 5, "b": 11}


def test_a_job_larger_than_its_gateway_s_part_gets_room() -> None:
    lines = {"a": Line(want=Amount(1, 12_000), whole=WHOLE, must=12_000), "b": line(40)}
    assert targets(lines)["a"].tokens == 12_000


AMOUNTS = st.builds(Amount, st.integers(0, 200), st.integers(0, 200_000))
LINES = st.builds(
    Line,
    AMOUNTS,
    AMOUNTS,
    AMOUNTS,
    st.builds(Amount, st.integers(0, 64), st.integers(0, 64_000)),
    st.integers(0, 100_000),
    st.floats(0.1, 100.0),
    st.booleans(),
)


@given(st.dictionaries(st.sampled_from("abcdefgh"), LINES, min_size=1))
def test_targets_are_whole_parts_of_what_is_there(lines: dict[str, Line]) -> None:
    found = targets(lines)
    alive = [each.whole for each in lines.values() if not each.gone]
    if alive:
        seats = min(each.seats for each in alive) - sum(each.held.seats for each in lines.values() if each.gone)
        assert sum(amount.seats for amount in found.values()) == max(0, seats)
    for name in found:
        asked = next_held(name, lines)
        assert asked.seats >= min(lines[name].held.seats, lines[name].used.seats)


@given(st.dictionaries(st.sampled_from("abcd"), LINES, min_size=1), st.integers(0, 64))
def test_nothing_moves_where_everybody_holds_its_part(lines: dict[str, Line], seats: int) -> None:
    engine = Amount(seats, 1000 * seats)
    alive = {name: replace(each, whole=engine, gone=False) for name, each in lines.items()}
    settled = {name: replace(alive[name], held=part, used=NOTHING) for name, part in targets(alive).items()}
    for name, each in settled.items():
        assert next_held(name, settled) == may_fill(name, settled) == each.held


def test_legs_may_grow_into_what_others_leave() -> None:
    """Of 16,000 tokens: 900 of each 1000 that others use are there, all that a gone one holds; in steps of 250."""
    mine = line(held=4, used=4)
    assert may_grow("a", {"a": mine}) == 16_000
    assert may_grow("a", {"a": mine, "b": line(held=12, used=4)}) == 12_250
    assert may_grow("a", {"a": mine, "b": line(held=10, used=4, gone=True)}) == 6000
    assert may_grow("a", {"a": mine, "b": line(held=8, used=8), "c": line(held=9, gone=True)}) == 4000


@given(st.dictionaries(st.sampled_from("abcdefgh"), LINES, min_size=1))
def test_the_gateways_pause_as_much_as_the_engine_is_overrun(lines: dict[str, Line]) -> None:
    """Nothing while it has room; else all of it together, as far as anybody is beyond its part."""
    uses = {name: int(WATERMARK * each.used.tokens) for name, each in lines.items() if not each.gone}
    gone = sum(each.held.tokens for each in lines.values() if each.gone)
    beyond = sum(max(0, tokens - lines[name].held.tokens) for name, tokens in uses.items())
    excess = max(0, sum(uses.values()) + gone - whole_of(lines).tokens)

    assert sum(max(0, tokens - may_grow(name, lines)) for name, tokens in uses.items()) == min(excess, beyond)
