"""How full an engine is, kept up to date; and whether there is room for all, found without looking at all engines."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.capacity import EngineCapacity, EngineLoad
from gateway.core.job import Job, JobSpec
from gateway.core.policies.places import Places, room_for_all
from gateway.core.tuning import UNKNOWN_ENGINE


def job(number: int) -> Job:
    return Job(JobSpec(f"j{number}", "a", 10), arrived=0.0, order=number)


@given(st.lists(st.tuples(st.sampled_from(["take", "grow", "free", "resize"]), st.integers(1, 500)), max_size=40))
def test_the_share_is_what_legs_and_tokens_make_of_it(moves: list[tuple[str, int]]) -> None:
    """Whatever happens to the engine."""
    load = EngineLoad("e", EngineCapacity(8, 4000), UNKNOWN_ENGINE)
    for number, (what, amount) in enumerate(moves):
        legs = list(load.legs.values())
        if what == "take":
            load.take(job(number), amount, 0.0)
        elif what == "resize":
            load.resize(EngineCapacity(1 + amount % 8, 16 * amount))
        elif legs and what == "grow":
            load.grow(legs[0], amount)
        elif legs:
            load.free(legs[0])

        kv_tokens = load.capacity.kv_tokens or 1
        assert load.share == max(len(load.legs) / load.capacity.max_running, load.tokens / kv_tokens)


PLACES = st.lists(st.tuples(st.integers(-3, 4), st.integers(-300, 400)), max_size=6)


@given(st.lists(st.integers(0, 300), max_size=10), PLACES)
def test_room_for_all_is_by_the_sums(needs: list[int], rooms: list[tuple[int, int]]) -> None:
    """Free seats and tokens of all engines together; one that is overfull takes nothing away from the others."""
    load = EngineLoad("e", EngineCapacity(8), UNKNOWN_ENGINE)
    places = [Places(load, 1000, 1000, 8, 1000, seats, memory, 0, 0) for seats, memory in rooms]
    jobs = [job(number) for number in range(len(needs))]
    seats, memory = (sum(max(0, each[measure]) for each in rooms) for measure in (0, 1))

    found = room_for_all(jobs, lambda each: needs[each.order], iter(places))

    assert found == (len(needs) <= seats and sum(needs) <= memory)
